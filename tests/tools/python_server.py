#!/usr/bin/env python3
"""Runs Python scripts in copies of one process, which has imported what takes long:

    python_server.py MODULE...

A line on its input, `OUTPUT SCRIPT ARGUMENT...` quoted as a shell does, runs the script with its
output and errors in the file OUTPUT; the answer is a line with its exit status. The server itself
does nothing but import, so that its copies begin without threads. See python_server.sh.
"""
import importlib
import os
import runpy
import shlex
import sys
import traceback


def run(output, script, *arguments):
    """In the copy: the script as Python runs it; never returns."""
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for inherited in 1, 2:
        os.dup2(file, inherited)
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(script)
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


for module in sys.argv[1:]:
    importlib.import_module(module)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*shlex.split(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
