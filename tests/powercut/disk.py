"""Disks whose power can be cut: ext4 in an image file that is copied atomically while it is written to.

The images live on an XFS of our own (itself an image: any host will do), because cloning a file there is one
atomic step: FICLONE holds the file's lock, so a write is in the clone wholly or not at all. What a clone holds is
what had reached the disk at that moment. What only the page cache had, as after a commit without an fsync, is not
in it. The disk modelled so has no volatile cache of its own and writes in the order it was told to.

Every mount and loop device is below one folder named pipit-powercut-*, locked by its owner: a folder nobody locks
is what a killed run left behind, and the next run clears it away.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

PREFIX = "pipit-powercut-"
FICLONE = 0x40049409  # linux/fs.h
HOME_BYTES = 3 << 30  # sparse: only what differs between clones takes room
DISK_BYTES = 192 << 20


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout.strip()}")
    return done.stdout


def clone(source, target):
    """The atomic copy. Returns seconds taken."""
    begin = time.monotonic()
    with open(source, "rb") as old, open(target, "xb") as new:
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
    return time.monotonic() - begin


def _mounts_below(folder):
    with open("/proc/self/mounts") as table:
        points = [line.split()[1].replace("\\040", " ") for line in table]
    return [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]


def _unmount_all(folder):
    for point in sorted(_mounts_below(folder), key=len, reverse=True):
        for _ in range(50):  # a process that was just killed may hold it for a moment
            if subprocess.run(["umount", point], capture_output=True).returncode == 0:
                break
            time.sleep(0.05)
        else:
            subprocess.run(["umount", "-l", point], capture_output=True)


def _mount(image, point):
    point.mkdir(exist_ok=True)
    for attempt in range(20):  # another process may take the free loop device first, or still be giving it up
        try:
            run("mount", "-o", "loop,noatime", str(image), str(point))
            return
        except RuntimeError:
            if attempt == 19:
                raise
            time.sleep(0.05)


class Disk:
    """A mounted image. `data` is the store's folder on it."""

    def __init__(self, image, point):
        self.image, self.point = pathlib.Path(image), pathlib.Path(point)
        self.data = self.point / "storage"
        self.mount()

    def mount(self):
        _mount(self.image, self.point)

    def mounted(self):
        return str(self.point) in _mounts_below(self.point)

    def unmount(self):
        _unmount_all(self.point)
        self.point.rmdir()

    def remove(self):
        self.unmount()
        self.image.unlink()


class Home:
    """The run's folder: scratch space outside the cut disks, and the XFS with the images."""

    def __init__(self, images=True):
        if images and os.geteuid() != 0:
            raise RuntimeError("power cuts mount disk images: run this as root")
        _clear_stale()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self.lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.owner = os.getpid()
        self.images = self.folder / "images"
        self.number = 0
        if images:
            try:
                self._make_images()
            except BaseException:
                self.close()
                raise

    def _make_images(self):
        store = self.folder / "xfs.img"
        with open(store, "xb") as file:
            file.truncate(HOME_BYTES)
        run("mkfs.xfs", "-q", "-m", "reflink=1", str(store))
        _mount(store, self.images)
        self.blank = self.images / "blank.img"
        with open(self.blank, "xb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.blank))

    def disk(self, name, image=None):
        """A new disk: empty, or a clone of `image`."""
        path = self.images / f"{name}.img"
        clone(image or self.blank, path)
        return Disk(path, self.folder / name)

    def cut(self, disk, name):
        """Takes the power from a disk: (image of what it holds, seconds)."""
        path = self.images / f"{name}.img"
        return path, clone(disk.image, path)

    def keep(self, image, name):
        """Puts an image where it outlives the run; returns its path."""
        target = self.kept() / name
        run("cp", "--sparse=always", str(image), str(target))
        return target

    def kept(self):
        parent = os.environ.get("PIPIT_KEPT") or tempfile.gettempdir()
        folder = pathlib.Path(parent) / f"pipit-kept-{self.folder.name.removeprefix(PREFIX)}"
        folder.mkdir(exist_ok=True)
        return folder

    def close(self):
        if os.getpid() == self.owner:
            _clear(self.folder)
            os.close(self.lock)


def _clear(folder):
    _unmount_all(folder)
    if not _mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _clear_stale():
    for folder in pathlib.Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its run is alive
        else:
            _clear(folder)
        finally:
            os.close(handle)
