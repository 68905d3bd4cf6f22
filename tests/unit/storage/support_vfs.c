/* support_vfs: a shim that hands everything to the default VFS and now and then answers an error
 * itself, as a failing disk would. */
#include "tests/unit/storage/support_vfs.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct vfs_fault vfs_sync_fault, vfs_write_fault, vfs_index_fault;

struct shim_file {
    sqlite3_file base;
    enum vfs_file kind;
    sqlite3_file *real; /* behind this struct */
};
static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;

void support_vfs_fail(struct vfs_fault *fault, enum vfs_file file, int calls_left, int failures) {
    fault->file = file;
    atomic_store(&fault->calls_left, calls_left);
    atomic_store(&fault->failures, failures);
}

static bool due(struct vfs_fault *fault, enum vfs_file kind) {
    if (atomic_load(&fault->failures) == 0 || (fault->file != VFS_ANY && fault->file != kind)) {
        return false;
    }
    if (atomic_fetch_sub(&fault->calls_left, 1) > 0) {
        return false;
    }
    return atomic_fetch_sub(&fault->failures, 1) > 0;
}

static sqlite3_file *real_of(sqlite3_file *file) {
    return ((struct shim_file *)file)->real;
}
static int shim_close(sqlite3_file *file) {
    return real_of(file)->pMethods->xClose(real_of(file));
}
static int shim_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 at) {
    return real_of(file)->pMethods->xRead(real_of(file), bytes, count, at);
}
static int shim_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 at) {
    if (due(&vfs_write_fault, ((struct shim_file *)file)->kind)) {
        return SQLITE_IOERR_WRITE;
    }
    return real_of(file)->pMethods->xWrite(real_of(file), bytes, count, at);
}
static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}
static int shim_sync(sqlite3_file *file, int flags) {
    if (due(&vfs_sync_fault, ((struct shim_file *)file)->kind)) {
        return SQLITE_IOERR_FSYNC;
    }
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}
static int shim_size(sqlite3_file *file, sqlite3_int64 *size) {
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}
static int shim_lock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xLock(real_of(file), level);
}
static int shim_unlock(sqlite3_file *file, int level) {
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}
static int shim_reserved(sqlite3_file *file, int *result) {
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), result);
}
static int shim_control(sqlite3_file *file, int operation, void *argument) {
    return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}
static int shim_sector(sqlite3_file *file) {
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}
static int shim_traits(sqlite3_file *file) {
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}
static int shim_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **at) {
    if (extend != 0 && page > 0 && due(&vfs_index_fault, VFS_DATABASE)) {
        return SQLITE_IOERR_SHMSIZE; /* as on a full disk */
    }
    return real_of(file)->pMethods->xShmMap(real_of(file), page, bytes, extend, at);
}
static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}
static void shim_shm_barrier(sqlite3_file *file) {
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}
static int shim_shm_unmap(sqlite3_file *file, int remove) {
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods SHIM_METHODS = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *flags_out) {
    (void)vfs;
    struct shim_file *shim = (struct shim_file *)file;
    memset(shim, 0, sizeof(*shim));
    shim->real = (sqlite3_file *)(shim + 1);
    shim->kind = (flags & SQLITE_OPEN_WAL) != 0 ? VFS_LOG : VFS_DATABASE;
    int code = real_vfs->xOpen(real_vfs, name, shim->real, flags, flags_out);
    if (shim->real->pMethods != NULL) {
        shim->base.pMethods = &SHIM_METHODS;
    }
    return code;
}

void support_vfs_install(void) {
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL || real_vfs == &shim_vfs) {
        return;
    }
    shim_vfs = *real_vfs;
    shim_vfs.zName = "faulty";
    shim_vfs.szOsFile = real_vfs->szOsFile + (int)sizeof(struct shim_file);
    shim_vfs.xOpen = shim_open;
    if (sqlite3_vfs_register(&shim_vfs, 1) != SQLITE_OK) {
        abort();
    }
}
