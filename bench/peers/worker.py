"""Holds the libraries of one virtual environment that load together, and runs cases for compare.py.

    worker.py THREADS CEILINGS MODULE...

Reads a JSON object a line, {"do": NAME, ...}, and answers each with one. CEILINGS is the shared
library of ceilings.cc, or "" where there is none.
"""

import ctypes
import importlib
import json
import os
import pathlib
import sys
import time
import traceback

import numpy as np

from cases import CASES
from implementation import Unsupported, error_of
from operands import Operands

# A repeat calls until this time has passed, so that one scheduler slice does not decide it.
REPEAT_SECONDS = 0.1

# The largest error over the largest output beyond which an output is another function's, not a
# rounded one: bf16 has 8 bits, and some libraries round weights and sums to it too.
TOLERANCE = {"f32": 1e-4, "bf16": 5e-2}


def failure_of(error):
    """One line of why."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0] if isinstance(error, Unsupported) else f"{type(error).__name__}: {lines[0]}"
    return {"failure": text[:300]}


def compared(implementation, case, operands, output):
    """The error of an output. @throws ValueError if it is too large to be this case's."""
    exact = operands.exact
    error, largest = error_of(implementation, case, operands, output, exact), np.abs(exact).max()
    if not error <= TOLERANCE[case.dtype] * largest:
        raise ValueError(f"wrong: an error of {error:.2g}, the largest output is {largest:.2g}")
    return {"error": error, "largest": float(largest)}


def proc_bytes(field):
    """A size in /proc/self/status."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(field)


class Worker:
    def __init__(self, threads, ceilings, modules):
        self.threads, self.case, self.running = threads, None, {}
        self.implementations, self.versions, self.missing = {}, {}, {}
        for module in modules:
            self.load(module)
        self.library = ctypes.CDLL(ceilings) if ceilings else None
        if self.library:
            self.library.rapt_fma_flops_now.restype = ctypes.c_double

    def load(self, module):
        try:
            library = importlib.import_module(module)
            found = library.implementations()
            self.versions |= library.version()
        except ImportError as error:
            self.missing[module.removeprefix("with_")] = failure_of(error)["failure"]
            return
        self.implementations |= {implementation.name: implementation for implementation in found}

    def hello(self):
        return {"versions": self.versions, "missing": self.missing}

    def start(self, case, cut, copies):
        """Draws the numbers of a case. Answers which implementations it is for."""
        self.running, self.operands = {}, None
        self.case = CASES[case].cut() if cut else CASES[case]
        self.operands = Operands(self.case, copies)
        self.small = Operands(self.case.cut(), 1)
        serving = [n for n, found in self.implementations.items() if found.serves(self.case)]
        return {"implementations": serving}

    def prepare(self, implementation):
        """Makes one ready, if what it computes is right: first on few tokens, then on all."""
        try:
            one = self.implementations[implementation]
            with one.context():
                few = one.calls(self.small.case, self.small, self.threads)[0]()
                compared(one, self.small.case, self.small, few)
                calls = one.calls(self.case, self.operands, self.threads)
                result = compared(one, self.case, self.operands, calls[0]())
        except Exception as error:
            if not isinstance(error, Unsupported):
                traceback.print_exc()
            return failure_of(error)
        self.running[implementation] = (one, calls)
        return result

    def repeat(self, implementation):
        """Seconds of a call, the cores that it kept busy, and the clock just after it."""
        one, calls = self.running[implementation]
        count, seconds, cpu = 0, 0.0, time.process_time()
        with one.context():
            start = time.perf_counter()
            while seconds < REPEAT_SECONDS:
                calls[count % len(calls)]()
                count += 1
                seconds = time.perf_counter() - start
        cores = (time.process_time() - cpu) / seconds
        clock = self.library.rapt_fma_flops_now() if self.library else 0.0
        return {"seconds": seconds / count, "cores": cores, "fma_now": clock}

    def ceilings(self):
        if not self.library:
            return {"fma": 0.0, "read": 0.0}
        fma, read = ctypes.c_double(), ctypes.c_double()
        if self.library.rapt_ceilings(self.threads, ctypes.byref(fma), ctypes.byref(read)):
            raise MemoryError("no memory for the ceilings")
        return {"fma": fma.value, "read": read.value}

    def memory(self, implementation):
        """Bytes that preparing and one call take beyond the operands, in a process of its own."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, json.dumps(self.memory_here(implementation)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            text = answer.read()
        _, status = os.waitpid(child, 0)
        return json.loads(text) if text else {"failure": f"ended with status {status}"}

    def memory_here(self, implementation):
        try:
            one = self.implementations[implementation]
            one.lay_out(self.case, self.operands)
            with one.context():
                # What the library takes for itself, on few tokens.
                one.calls(self.small.case, self.small, self.threads)[0]()
                before = proc_bytes("VmRSS")
                call = one.calls(self.case, self.operands, self.threads)[0]
                # Compilers of graphs take more than they keep; from here on peaks count.
                pathlib.Path("/proc/self/clear_refs").write_text("5")
                call()
            return {"memory_bytes": max(0, proc_bytes("VmHWM") - before)}
        except Exception as error:
            return failure_of(error)


def main():
    threads, ceilings, *modules = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    worker = Worker(int(threads), ceilings, modules)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
