//! Measures programs by turns, and prints what they need.

/// One program of a comparison.
pub(crate) struct Program<'a> {
    name: String,
    measure: Box<dyn Fn() -> Result<f64, String> + 'a>,
}

impl<'a> Program<'a> {
    /// A program whose figure `measure` finds, or says why there is none.
    pub(crate) fn new(name: &str, measure: impl Fn() -> Result<f64, String> + 'a) -> Self {
        Self { name: name.to_owned(), measure: Box::new(measure) }
    }
}

/// A table that is printed row by row.
#[derive(Debug)]
pub(crate) struct Table {
    turns: u32,
}

impl Table {
    /// Prints the head.
    pub(crate) fn new(title: &str, unit: &str, turns: u32) -> Self {
        println!("\n{title}:\n");
        println!("| what | program | {unit} | range | Samebit / program |");
        println!("|---|---|---|---|---|");
        Self { turns }
    }

    /// Measures programs by turns, the first of which is Samebit, and prints a row for each.
    pub(crate) fn rows(&self, what: &str, programs: Vec<Program<'_>>) {
        let mut found: Vec<Result<Vec<f64>, String>> = vec![Ok(Vec::new()); programs.len()];
        for _ in 0..self.turns {
            for (found, program) in found.iter_mut().zip(&programs) {
                let Ok(figures) = found else { continue };
                match (program.measure)() {
                    Ok(figure) => figures.push(figure),
                    Err(reason) => *found = Err(reason),
                }
            }
        }
        let samebit = found[0].clone();
        for (index, (found, program)) in found.iter().zip(&programs).enumerate() {
            // A row is compared with the first one, which itself has no ratio.
            let beside = samebit.as_ref().ok().filter(|_| index > 0);
            println!("| {what} | {} | {} |", program.name, cells(found, beside));
        }
    }
}

/// Median, range and ratio.
fn cells(found: &Result<Vec<f64>, String>, samebit: Option<&Vec<f64>>) -> String {
    let figures = match found {
        Ok(figures) => figures,
        Err(reason) => return format!("not measured: {reason} | | "),
    };
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    let ratios = samebit.map(|samebit| samebit.iter().zip(figures).map(|(own, other)| own / other));
    let ratio = ratios.and_then(|ratios| median(ratios).ok());
    format!(
        "{} | {} to {} | {}",
        median(figures.iter().copied()).map_or_else(|reason| reason, figure),
        figure(least),
        figure(most),
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
    )
}

/// The middle one of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> Result<f64, String> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().ok_or_else(|| "it gave no figures".into())
}

/// Three digits, or all of those before the point.
fn figure(value: f64) -> String {
    let places = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.places$}")
}

/// The machine that this program runs on, and how busy it is.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (info, load) = (read("/proc/cpuinfo"), read("/proc/loadavg"));
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("{processors} processors ({model}), load average {load} at the start")
}
