"""What is said of the machine."""

import subprocess
import sys

import pytest

from fasnb.tools.environment import peak_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say it")
def test_peak_memory_is_the_processs_own_and_not_that_of_its_parent():
    held = b"x" * 2**28
    assert peak_memory() > len(held)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert 0 < peak_memory(child.pid) < 2**27
    child.communicate(b"\n")
    assert peak_memory(child.pid) is None
