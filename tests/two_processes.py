"""``gan-serve`` as the two processes that torchrun would start, forked from one that has imported torch already."""

import importlib
import os
import socket
import sys

from without_plots import main

if __name__ == "__main__":
    for name in ("torch._dynamo", "torch.distributed.nn"):  # not our modules, which read RANK
        importlib.import_module(name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = []
    for rank in ("0", "1"):
        if not (process := os.fork()):
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
            main()
        started.append(process)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started))
