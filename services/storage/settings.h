/* settings: the configuration of the storage service; the table itself is settings.c. */
#ifndef PIPIT_STORAGE_SETTINGS_H
#define PIPIT_STORAGE_SETTINGS_H

#include "common/bus_settings.h"
#include "common/service.h"

struct storage_settings {
    struct service_settings service; /* first: see common/service.h */
    struct bus_settings bus;
    const char *bus_listen;
    const char *store;
    uint64_t reader_threads;
    uint64_t requests_max;
    uint64_t write_queue_max;
    uint64_t read_queue_max;
    uint64_t commit_messages_max;
    uint64_t group_members_max;
    bool compress;
};
extern const struct conf_row storage_conf_rows[];
extern const size_t storage_conf_row_count;

#endif
