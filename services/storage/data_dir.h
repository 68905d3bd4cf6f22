/* data_dir: the directory of an embedded store: made private, synced, and held by one process. */
#ifndef PIPIT_STORAGE_DATA_DIR_H
#define PIPIT_STORAGE_DATA_DIR_H

#include "common/buf.h"

/* Makes dir and its missing parents (mode 0700), takes the lock file DIR/lock for this process and
 * writes the process id into it. *lock_fd is the caller's; closing it (or dying) lets go.
 * ERR_EXISTS: another process has it, `problem` says which. Other errors: `problem` says what
 * failed. */
enum err data_dir_take(const char *dir, int *lock_fd, struct buf *problem) MUST_CHECK;
/* Makes the file (mode 0600) when it is absent. */
enum err data_dir_make_file(const char *path, struct buf *problem) MUST_CHECK;
/* Makes the directory's entries durable. A failed fsync ends the process. */
enum err data_dir_sync(const char *dir, struct buf *problem) MUST_CHECK;
/* The same for the directory that the file at `path` is in. One that cannot be opened is left
 * alone: the entries of the store's files were made durable when it was opened. */
void data_dir_sync_around(const char *path);

#endif
