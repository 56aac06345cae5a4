import subprocess
import sys


def test_importing_the_room_prints_nothing():
    command = [sys.executable, "-c", "import model_compression.quantization"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
