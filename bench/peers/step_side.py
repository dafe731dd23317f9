"""One side of a comparison of training steps: a process that takes steps when it is told to, and what it holds."""
import contextlib
import json
import os
import subprocess


def memory(pid, field):
    """MiB, from the kernel's own count."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def gpu_memory():
    """MiB that the GPU has handed out, to whomever."""
    query = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())


class Side:
    """A process that takes steps. Started after the other side is warm, so that GPU memory can be told apart."""

    def __init__(self, arguments, command):
        self.on_gpu = arguments.device == "cuda"
        threads = str(arguments.threads)
        environment = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, MOEGRAD_THREADS=threads)
        if not self.on_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
            command = ["taskset", "-c", arguments.cores] + command
        self.gpu_before = gpu_memory() if self.on_gpu else 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=None if arguments.verbose else subprocess.DEVNULL, env=environment)
        self.losses, self.seconds, self.allocated, self.turn = [], [], 0, arguments.turn
        if self.process.stdout.readline().strip() != "libraries":
            raise RuntimeError(f"{command} did not start")
        self.libraries = 0 if self.on_gpu else memory(self.process.pid, "VmRSS")
        self.trainable = json.loads(self.ask(1))["trainable"]
        with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/clear_refs", "w") as clear:
            clear.write("5")  # the peak counts from here: loading does not matter
        for _ in range(arguments.warm):
            self.step()
        self.seconds.clear()
        self.gpu_taken = gpu_memory() - self.gpu_before if self.on_gpu else 0

    def ask(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process ended")
        return line

    def step(self):
        reply = json.loads(self.ask(self.turn))
        self.losses += reply["losses"]
        self.seconds.append(reply["seconds"] / self.turn)
        self.allocated = reply.get("allocated", 0)

    def peak(self):
        return self.gpu_taken if self.on_gpu else memory(self.process.pid, "VmHWM")

    def close(self):
        self.process.stdin.close()
        self.process.wait()
