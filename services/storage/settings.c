/* settings: one row per setting of storage. The defaults suit one Raspberry Pi 4 with an SD card or
 * an SSD: two readers, because a page read seldom waits for the disk, and commits of up to 4096
 * messages, which a Pi writes in about 20 ms. Every limit that is hit shows in
 * pipit_limit_hits_total. */
#include "services/storage/settings.h"

#define ROW(key, type, member, fallback, low, high, help)                                          \
    {"storage", key, type, offsetof(struct storage_settings, member), fallback, low, high, help}

const struct conf_row storage_conf_rows[] = {
    SERVICE_CONF_ROWS("storage", struct storage_settings, "127.0.0.1:9464"),
    BUS_CONF_ROWS(struct storage_settings),
    ROW("bus_listen", CONF_TEXT, bus_listen, "tcp://127.0.0.1:7201", NULL, NULL,
        "Base address of this instance: requests are answered here, membership changes published "
        "at the next port."),
    ROW("store", CONF_TEXT, store, "sqlite:var/storage", NULL, NULL,
        "Where everything is kept: sqlite:DIRECTORY, made when absent and used by one process, or "
        "a MongoDB connection string, mongodb://user:password@host,host/database?replicaSet=name "
        "or mongodb+srv://..., shared by any number. Set it by the environment when it has a "
        "password."),
    ROW("reader_threads", CONF_UINT, reader_threads, "2", "1", "64",
        "Reads that run at once; more help when many clients sync after an outage. With MongoDB "
        "each takes a connection, and 16 suit a server that is a network away."),
    ROW("requests_max", CONF_UINT, requests_max, "512", "4", "4096",
        "Requests that may be unanswered at once; more wait in their senders' sockets."),
    ROW("write_queue_max", CONF_UINT, write_queue_max, "384", "1", "4096",
        "Writes that may wait for the next commit; more are refused with a retryable error."),
    ROW("read_queue_max", CONF_UINT, read_queue_max, "128", "1", "4096",
        "Reads that may wait for a reader; more are refused with a retryable error."),
    ROW("commit_messages_max", CONF_UINT, commit_messages_max, "4096", "1", "100000",
        "Messages made durable by one commit at most; bounds how long one commit takes."),
    ROW("group_members_max", CONF_UINT, group_members_max, "1000", "2", "100000",
        "Members of one group at most."),
    ROW("compress", CONF_BOOL, compress, "false", NULL, NULL,
        "LZ4-compress replies of 4 KiB and more; pays on slow links between machines."),
};
const size_t storage_conf_row_count = sizeof(storage_conf_rows) / sizeof(storage_conf_rows[0]);
