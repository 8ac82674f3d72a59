"""Runs a script, and runs it a second time when it has read how far the table is and has not yet added anything.

usage: overtaken.py SCRIPT ARGUMENTS
"""

import os
import runpy
import subprocess
import sys

sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
from manifests import Archive

read = Archive._read_manifest


def overtaken(archive, number):
    Archive._read_manifest = read
    run = read(archive, number)
    subprocess.run([sys.executable, *sys.argv], check=True)
    return run


Archive._read_manifest = overtaken
runpy.run_path(sys.argv[0], run_name="__main__")
