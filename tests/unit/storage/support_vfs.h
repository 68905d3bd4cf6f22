/* support_vfs: SQLite's own file layer with faults: sync, write and growth of the log's index can
 * be made to fail. */
#ifndef PIPIT_TESTS_UNIT_STORAGE_SUPPORT_VFS_H
#define PIPIT_TESTS_UNIT_STORAGE_SUPPORT_VFS_H

#include <stdatomic.h>
#include <stdbool.h>

/* Which files a fault is about. */
enum vfs_file { VFS_DATABASE, VFS_LOG, VFS_ANY };
struct vfs_fault {
    enum vfs_file file;
    atomic_int calls_left; /* this many calls succeed, then ... */
    atomic_int failures;   /* ... this many fail; 0 = off */
};
extern struct vfs_fault vfs_sync_fault, vfs_write_fault, vfs_index_fault;

/* Makes the faulty layer the default for stores opened from now on. */
void support_vfs_install(void);
void support_vfs_fail(struct vfs_fault *fault, enum vfs_file file, int calls_left, int failures);

#endif
