"""A world that ends with its first process: own network, mount and process namespaces.

unshare() runs a program as process 1 of new namespaces. Whatever it starts, mounts or adds to the
network is gone when it ends, also by SIGKILL; the machine's own network is never touched. Inside, a bridge in a namespace of its own joins one namespace per instance and the clients' (this process's).
"""

import asyncio
import os
import pathlib
import subprocess

MARK = "PIPIT_CHAOS_INSIDE"
SUBNET = "10.77"
CLIENT = f"{SUBNET}.0.1"


def unshare():
    """The command that runs another one as process 1 of a new world."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return command if os.geteuid() == 0 else [*command, "--map-root-user"]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


async def run_async(*command, check=True):
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    if check and process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {err.decode().strip()}")
    return out.decode()


class Network:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.hosts = self.folder / "hosts"
        self.names = {}

    def create(self):
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "tmpfs", "/run")  # named namespaces and the lock of iptables
        os.mkdir("/run/netns")
        self.write_hosts({})
        run("mount", "--bind", str(self.hosts), "/etc/hosts")
        run("ip", "link", "set", "lo", "up")
        run("ip", "netns", "add", "switch")
        run("ip", "-n", "switch", "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", "switch", "link", "set", "bridge", "up")
        self._join("clients", None, CLIENT)

    def _join(self, port, namespace, address):
        inside = ["ip"] if namespace is None else ["ip", "-n", namespace]
        run("ip", "link", "add", "wire", "type", "veth", "peer", "name", port, "netns", "switch")
        if namespace is not None:
            run("ip", "link", "set", "wire", "netns", namespace)
        run("ip", "-n", "switch", "link", "set", port, "master", "bridge", "up")
        run(*inside, "link", "set", "wire", "name", "eth0")
        run(*inside, "addr", "add", f"{address}/16", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")

    def add(self, name, address):
        """A namespace for one instance."""
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        self._join(name, name, address)
        self.names[name] = address

    def remove(self, name):
        run("ip", "netns", "delete", name)
        del self.names[name]

    def write_hosts(self, addresses):
        """{name: [addresses]}. Written in place, in one piece and always as long: readers see a whole file."""
        lines = ["127.0.0.1 localhost"]
        lines += [f"{address} {name}" for name, all_of_it in addresses.items() for address in all_of_it]
        data = ("\n".join(lines) + "\n").encode()
        data += b"#" * (4000 - len(data)) + b"\n"
        descriptor = os.open(self.hosts, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(descriptor, data, 0)
        os.close(descriptor)

    @staticmethod
    def within(name, *command):
        return ["nsenter", f"--net=/run/netns/{name}", *command]

    async def rule(self, name, *arguments):
        await run_async(*self.within(name, "iptables-legacy", "-w", *arguments))

    async def clear(self, name):
        """Takes every fault off an instance's network."""
        await self.rule(name, "-F")

    async def drop(self, name, source=None, destination=None):
        if source is not None:
            await self.rule(name, "-A", "INPUT", "-s", source, "-j", "DROP")
        if destination is not None:
            await self.rule(name, "-A", "OUTPUT", "-d", destination, "-j", "DROP")

    async def lose(self, name, share):
        for chain in ("INPUT", "OUTPUT"):
            await self.rule(name, "-A", chain, "!", "-i" if chain == "INPUT" else "-o", "lo", "-m", "statistic",
                            "--mode", "random", "--probability", f"{share:.3f}", "-j", "DROP")

    async def queue(self, name, number):
        await self.rule(name, "-A", "INPUT", "!", "-i", "lo", "-j", "NFQUEUE", "--queue-num", str(number),
                        "--queue-bypass")

    async def reset_connections(self, name, *filters):
        await run_async(*self.within(name, "ss", "-K", *filters), check=False)
