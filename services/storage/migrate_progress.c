/* migrate_progress: at most a line every two seconds, and one at the end of each table: what it is,
 * how many rows of how many, and how many a second, so that whoever waits can reckon. */
#include "services/storage/migrate_progress.h"

#include "common/clock.h"
#include "common/log.h"

static void tell(const struct migrate_progress *progress, const char *what, uint64_t now_us) {
    uint64_t spent_us = now_us > progress->begun_us ? now_us - progress->begun_us : 1;
    uint64_t moved = progress->rows - progress->before;
    log_event(LOG_INFO, what, F_TEXT("table", progress->table), F_UINT("rows", progress->rows),
              F_UINT("total", progress->total), F_UINT("rows_per_s", moved * 1000000u / spent_us));
}

void migrate_progress_begin(struct migrate_progress *progress, const char *table, uint64_t before,
                            uint64_t total) {
    uint64_t now_us = clock_mono_us();
    *progress = (struct migrate_progress){.table = table,
                                          .rows = before,
                                          .before = before,
                                          .total = total,
                                          .begun_us = now_us,
                                          .told_us = now_us};
}

void migrate_progress_add(struct migrate_progress *progress, uint64_t rows) {
    uint64_t now_us = clock_mono_us();
    progress->rows += rows;
    if (now_us - progress->told_us >= MIGRATE_PROGRESS_EVERY_US) {
        progress->told_us = now_us;
        tell(progress, "moving", now_us);
    }
}

void migrate_progress_end(const struct migrate_progress *progress) {
    tell(progress, "moved", clock_mono_us());
}
