"""The notebook of the documents, and Ctrl-C in the kernel of one."""

import json
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/first_steps.ipynb"
SECONDS = 120


@pytest.fixture
def kernel(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client):
    """What a cell prints until it has ended, and the error that ended it."""
    text, error = "", None
    while True:
        message = client.get_iopub_msg(timeout=SECONDS)
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            text += content["text"]
        elif kind == "error":
            error = content["ename"]
        elif kind == "execute_result":
            text += content["data"]["text/plain"]
        elif kind == "status" and content["execution_state"] == "idle":
            return text, error


def test_the_notebook_runs(kernel):
    _, client = kernel
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    said = ""
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "it has no outputs"
            client.execute("".join(cell["source"]))
            text, error = outputs(client)
            assert error is None, (cell["source"], text, error)
            said += text
    readme = NOTEBOOK.parents[1].joinpath("README.md").read_text()
    digests = [word for word in said.split() if len(word) == 64]
    assert digests and digests[0] in readme, said


@pytest.mark.parametrize("workers", ["here", "local:2"])
def test_ctrl_c_in_a_kernel(kernel, workers):
    manager, client = kernel
    client.execute(
        "import samebit\n"
        f"run = samebit.submit('digits', 'softmax', epochs=100_000, workers={workers!r})\n"
        "next(it for it in run.events() if isinstance(it, samebit.events.Round))\n"
    )
    assert outputs(client)[1] is None
    # It waits for the end once it shows progress.
    client.execute("run.result(progress=True)")
    while client.get_iopub_msg(timeout=SECONDS)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    assert outputs(client)[1] == "KeyboardInterrupt"
    client.execute("print(run.status)")
    assert outputs(client) == ("cancelled\n", None)
