/* settings: one row per setting of routing. The defaults suit one Raspberry Pi 4 with 10,000
 * sessions; each table they bound is allocated as it fills, so a small system does not pay for a
 * large one's limits. Every limit that is hit shows in pipit_limit_hits_total{limit}, under the
 * name of its setting where there is one: raise it when that counter moves in normal operation, and
 * leave it when it moves only under attack. */
#include "services/routing/settings.h"

#define ROW(key, type, member, fallback, low, high, help)                                          \
    {"routing", key, type, offsetof(struct routing_settings, member), fallback, low, high, help}

const struct conf_row routing_conf_rows[] = {
    SERVICE_CONF_ROWS("routing", struct routing_settings, "127.0.0.1:9461"),
    BUS_CONF_ROWS(struct routing_settings),
    ROW("bus_listen", CONF_TEXT, bus_listen, "tcp://127.0.0.1:7101", NULL, NULL,
        "Base address of this instance: requests are answered here, deliveries published at the "
        "next port, heartbeats for auth at the one after it."),
    ROW("messages_per_second", CONF_UINT, messages_per_second, "1000", "0", "1000000",
        "Messages one user may send per second on average; 0 is unlimited."),
    ROW("messages_burst", CONF_UINT, messages_burst, "2000", "1", "1000000",
        "Messages one user may send at once before the average applies."),
    ROW("rate_users_max", CONF_UINT, rate_users_max, "16384", "16", "1000000",
        "Users whose sending rate is remembered; the longest silent one is forgotten first."),
    ROW("conversations_max", CONF_UINT, conversations_max, "65536", "16", "4000000",
        "Conversations kept in memory with their members; about 0.5 KiB each."),
    ROW("members_max", CONF_UINT, members_max, "1000000", "16", "100000000",
        "Members kept in memory over all conversations; about 64 bytes each."),
    ROW("pending_max", CONF_UINT, pending_max, "65536", "1", "4000000",
        "Messages accepted and not yet on disk, over all conversations; more are refused with a "
        "retryable error."),
    ROW("pending_per_conversation_max", CONF_UINT, pending_per_conversation_max, "8192", "1",
        "1000000", "The same limit for one conversation."),
    ROW("pending_bytes_max", CONF_BYTES, pending_bytes_max, "64MiB", "64KiB", "4GiB",
        "Bytes of message batches that are not yet answered."),
    ROW("recent_ids_max", CONF_UINT, recent_ids_max, "65536", "16", "4000000",
        "Message ids remembered so that a repeated send is answered without asking storage; 56 "
        "bytes each."),
    ROW("requests_max", CONF_UINT, requests_max, "256", "4", "4096",
        "Requests of other services that may be unanswered at once; more wait in their sockets."),
    ROW("storage_calls_max", CONF_UINT, storage_calls_max, "128", "8", "1024",
        "Calls in flight to one storage instance; at most half of them load conversations."),
    ROW("relays_max", CONF_UINT, relays_max, "32", "1", "1024",
        "History and list reads in flight to storage; keep it below storage_calls_max so that "
        "messages do not wait behind reads."),
    ROW("interests_max", CONF_UINT, interests_max, "1000000", "16", "100000000",
        "Conversations that sessions of all connection instances may care about."),
    ROW("interests_per_endpoint_max", CONF_UINT, interests_per_endpoint_max, "200000", "16",
        "100000000", "The same limit for one event loop of one connection instance."),
    ROW("sessions_max", CONF_UINT, sessions_max, "262144", "16", "10000000",
        "Sessions known over all connection instances."),
    ROW("endpoint_lease", CONF_DURATION, endpoint_lease_us, "6s", "1s", "10m",
        "A connection instance that is silent for longer is forgotten."),
    ROW("receipts_members_max", CONF_UINT, receipts_members_max, "64", "0", "1000",
        "Read and delivered marks are shown to others in groups of at most this many members."),
    ROW("marks_max", CONF_UINT, marks_max, "4096", "256", "1000000",
        "Read and delivered cursors waiting for storage; about 0.3 KiB each."),
    ROW("marks_interval", CONF_DURATION, marks_interval_us, "100ms", "1ms", "10s",
        "How long cursors are collected before storage is told."),
    ROW("signals_max", CONF_UINT, signals_max, "1024", "16", "1000000",
        "Typing and presence signals waiting for fan-out."),
    ROW("signals_interval", CONF_DURATION, signals_interval_us, "50ms", "1ms", "10s",
        "How long typing and presence signals are collected."),
};
const size_t routing_conf_row_count = sizeof routing_conf_rows / sizeof routing_conf_rows[0];
