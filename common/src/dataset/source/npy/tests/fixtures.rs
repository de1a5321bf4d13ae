//! Small files that NumPy 2 wrote.

/// `numpy.asfortranarray(numpy.array([[1, 2, 3], [4, 5, 6]], '>f8'))`.
pub(super) const BIG_FORTRAN: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '>f8', 'fortran_order': True, 'shape': (2, 3), }                                                           \
    \n?\xf0\0\0\0\0\0\0@\x10\0\0\0\0\0\0@\0\0\0\0\0\0\0@\x14\0\0\0\0\0\0@\x08\0\0\0\
    \0\0\0@\x18\0\0\0\0\0\0";
/// `numpy.array([[0.5, -2], [65504, 6e-8]], 'f2')`.
pub(super) const HALVES: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }                                                          \
    \n\08\0\xc0\xff{\x01\0";
/// `numpy.array(['cat', 'döner', '', 'a🐈'])`.
pub(super) const TEXTS: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '<U5', 'fortran_order': False, 'shape': (4,), }                                                            \
    \nc\0\0\0a\0\0\0t\0\0\0\0\0\0\0\0\0\0\0d\0\0\0\xf6\0\0\0n\0\0\0e\0\0\0r\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a\0\0\0\x08\xf4\x01\0\0\0\0\0\0\0\0\0\0\0\
    \0\0";
/// `numpy.array([b'cat', b'dog'])`.
pub(super) const BYTE_TEXTS: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }                                                            \
    \ncatdog";
/// `numpy.asfortranarray(numpy.eye(3, dtype=bool)[[2, 0, 1, 1]])`.
pub(super) const ONE_HOT: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '|b1', 'fortran_order': True, 'shape': (4, 3), }                                                           \
    \n\0\x01\0\0\0\0\x01\x01\x01\0\0\0";
/// `numpy.array(['a', 1], dtype=object)`.
pub(super) const OBJECTS: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (2,), }                                                             \
    \n\x80\x04\x95\x90\0\0\0\0\0\0\0\x8c\x16numpy._core.multiarray\x94\x8c\x0c_recon\
    struct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\0\x85\x94C\x01b\
    \x94\x87\x94R\x94(K\x01K\x02\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02O8\x94\
    \x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?t\
    \x94b\x89]\x94(\x8c\x01a\x94K\x01et\x94b.";
/// `numpy.zeros(2, dtype=[('a', '<f4'), ('b', '<i4')])`.
pub(super) const NAMED: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False\
    , 'shape': (2,), }                                     \n\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0";
/// `numpy.array(['2020-01-01'], dtype='M8[D]')`.
pub(super) const DATES: &[u8] = b"\x93NUMPY\x01\0v\0{'descr': '<M8[D]', 'fortran_order': False, 'shape': (1,), }                                                         \
    \nVG\0\0\0\0\0\0";
