/* goodbye: a client that may come back is given a window in which to pick a moment, so that all
 * those who lost their server at once do not return at once; a drain widens it with the number of
 * its clients. A client that has to log in again or to stop gets none. */
#include "services/connection/goodbye.h"

#include "proto/frame.h"

#define RETRY_MIN_MS 500u
#define RETRY_MAX_MS 4000u

enum err goodbye_encode(struct conn_table *table, enum reason reason) {
    bool returns = reason_class(reason) == REASON_CLASS_RECONNECT;
    uint32_t max_ms = table->retry_max_ms > RETRY_MAX_MS ? table->retry_max_ms : RETRY_MAX_MS;
    buf_clear(&table->scratch);
    return frame_encode_bye(&table->scratch, reason, returns ? RETRY_MIN_MS : 0,
                            returns ? max_ms : 0);
}
