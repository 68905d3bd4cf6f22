/* migrate_progress: log lines that show a long migration moving. */
#ifndef PIPIT_STORAGE_MIGRATE_PROGRESS_H
#define PIPIT_STORAGE_MIGRATE_PROGRESS_H

#include <stdint.h>

#define MIGRATE_PROGRESS_EVERY_US 2000000u

struct migrate_progress {
    const char *table;
    uint64_t rows, total; /* of the table */
    uint64_t before;      /* rows that an earlier run had moved */
    uint64_t begun_us, told_us;
};
void migrate_progress_begin(struct migrate_progress *progress, const char *table, uint64_t before,
                            uint64_t total);
/* Counts rows; logs a line when the last one is old enough. */
void migrate_progress_add(struct migrate_progress *progress, uint64_t rows);
/* Logs the table's last line. */
void migrate_progress_end(const struct migrate_progress *progress);

#endif
