"""`make run` as a newcomer meets it: addresses, invite, the three lines, second run, clear errors."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import pytest
import requests

from stack import BUILD, ROOT, free_port, wait_until


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("PIPIT_")}


class Run:
    def __init__(self, folder, **ports):
        self.ports = {"HTTP_PORT": free_port(), "WS_PORT": free_port(), "MQTT_PORT": free_port(),
                      "OPS_PORT": free_port(16), **ports}
        env = {**clean_environment(), "DATA": str(folder), "BUILD": str(BUILD), "LISTEN": "127.0.0.1",
               **{k: str(v) for k, v in self.ports.items()}}
        self.process = subprocess.Popen([str(ROOT / "scripts/run.sh")], env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def wait_running(self):
        wait_until(lambda: "Ctrl-C stops" in self.text or self.process.poll() is not None, 40, "make run")
        assert self.process.poll() is None, self.text
        return self

    def stop(self):
        os.kill(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=40)
        self.reader.join(timeout=5)
        return code


def test_first_run_prints_lines_that_work_and_second_run_keeps_the_data(tmp_path):
    run = Run(tmp_path / "var").wait_running()
    assert "Admin invite" in run.text
    block = run.text[run.text.index("ANN="):run.text.index("\nCtrl-C")]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) == 3
    pasted = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60,
                            check=False)
    assert "Hello Bob" in pasted.stdout, pasted.stdout + pasted.stderr
    assert run.stop() == 0
    for name in ("auth", "connection", "routing", "storage"):
        found = subprocess.run(["pgrep", "-f", f"{BUILD}/pipit-{name}$"], capture_output=True, check=False)
        assert str(run.process.pid) not in found.stdout.decode()
    again = Run(tmp_path / "var").wait_running()
    assert "Admin invite" not in again.text
    body = {"user": "ann", "password": "quiet-otter-lamp"}
    answer = requests.post(f"http://127.0.0.1:{again.ports['HTTP_PORT']}/v1/login", json=body, timeout=30)
    assert answer.status_code == 200
    assert again.stop() == 0


def test_a_dead_service_is_started_again(tmp_path):
    run = Run(tmp_path / "var").wait_running()
    port = run.ports["OPS_PORT"] + 2
    children = subprocess.run(["pgrep", "-P", str(run.process.pid), "-f", "pipit-routing"],
                              capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(children[0]), signal.SIGKILL)
    wait_until(lambda: "routing ended" in run.text, 10, "the notice")

    def ready():
        try:
            return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200
        except requests.RequestException:
            return False

    wait_until(ready, 10, "routing to be back")
    assert run.stop() == 0


@pytest.mark.parametrize("which", ["HTTP_PORT", "WS_PORT", "MQTT_PORT", "OPS_PORT"])
def test_port_in_use_is_one_clear_line(tmp_path, which):
    port = free_port(16)  # OPS_PORT takes its neighbours as well
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        run = Run(tmp_path / "var", **{which: port})
        assert run.process.wait(timeout=40) == 1
        run.reader.join(timeout=5)
        lines = [line for line in run.text.splitlines() if "did not start" in line]
        assert len(lines) == 1 and str(port) in lines[0] and "in use" in lines[0], run.text


def test_unwritable_folder_is_one_clear_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    run = Run(blocked / "var")
    assert run.process.wait(timeout=20) == 1
    run.reader.join(timeout=5)
    assert len(run.text.splitlines()) == 1 and "DATA=" in run.text


def test_readme_names_exactly_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) == {"run", "test"}


def test_every_service_explains_itself():
    for name in ("auth", "connection", "routing", "storage"):
        binary = str(pathlib.Path(BUILD) / f"pipit-{name}")
        helped = subprocess.run([binary, "--help"], capture_output=True, text=True, timeout=10, check=False)
        assert helped.returncode == 0 and "--print-config" in helped.stdout
        env = {**clean_environment(), f"PIPIT_{name.upper()}_LOG_LEVEL": "warn"}
        shown = subprocess.run([binary, "--print-config"], capture_output=True, text=True, env=env,
                               timeout=10, check=False)
        assert re.search(r"log_level = warn +# environment", shown.stdout), shown.stdout
        wrong = subprocess.run([binary, "--print-config"], capture_output=True, text=True, timeout=10,
                               env={**clean_environment(), f"PIPIT_{name.upper()}_LOG_LEVL": "warn"}, check=False)
        assert wrong.returncode != 0 and "LOG_LEVEL" in wrong.stderr.upper()
