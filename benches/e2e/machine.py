"""What the kernel says about processes: CPU time, memory, and what the rest of the machine did."""
import os
import resource

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def _stat(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat(entry)[1]), []).append(int(entry))
            except OSError:
                continue
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += children.get(at, [])
    return found


def cpu_seconds(pids):
    """User and system time of the processes, all threads, those that ended included."""
    ticks = 0
    for pid in pids:
        try:
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return ticks / TICKS


def resident_kb(pids):
    """Resident memory. smaps_rollup walks the pages and is exact; statm lags behind by what each core
    has not yet added up."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
        except (OSError, StopIteration):
            try:
                with open(f"/proc/{pid}/statm") as file:
                    total += int(file.read().split()[1]) * PAGE_KB
            except OSError:
                pass
    return total


def busy_seconds():
    """CPU time the whole machine has spent on anything, and time stolen by the host."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (sum(fields[:3]) + fields[5] + fields[6]) / TICKS, fields[7] / TICKS


def prefer(pids, nice):
    """Sets the priority of all threads of the processes. Each session is an autogroup of its own, and
    nice values count only inside one, so the group's is set too. Below 0 it needs root."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/autogroup", "w") as file:
                file.write(str(nice))
        except OSError:
            pass
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(thread), nice)
        except OSError:
            pass


def allow_open_files(wanted=20000):
    """1,000 streams are 2,000 sockets in a gateway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
