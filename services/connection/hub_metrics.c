/* hub_metrics: names and help texts of the hub's time series. All hubs of a process share them: an
 * operator asks how the process does, and one series per event loop would be noise. Families with a
 * label have all their series from the start, at zero, so that a dashboard sees them. Labels have
 * few values; never a user, conversation or device. */
#include "services/connection/hub_metrics.h"

#define SERIES(metric, text, label) {.name = (metric), .help = (text), .labels = (label)}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char sessions_help[] = "Authenticated sessions";
static const char gaps_help[] = "Conversations caught up from history, by cause";
static const char troubles_help[] = "Trouble of a delivery stream";
static const char limit_help[] = "Times a bound was reached";
static const char shed_help[] = "Signals and receipts not passed on because of overload";
#define GAP(cause) SERIES("pipit_gaps_total", gaps_help, "cause=\"" cause "\"")
#define TROUBLE(kind) SERIES("pipit_stream_troubles_total", troubles_help, "kind=\"" kind "\"")
#define LIMIT(limit) SERIES("pipit_limit_hits_total", limit_help, "limit=\"" limit "\"")
#define SHED(kind) SERIES("pipit_shed_total", shed_help, "kind=\"" kind "\"")

struct hub_metrics hub_metrics = {
    .sessions = {[HUB_PROTOCOL_WS] = SERIES("pipit_sessions", sessions_help, "proto=\"ws\""),
                 [HUB_PROTOCOL_MQTT] = SERIES("pipit_sessions", sessions_help, "proto=\"mqtt\"")},
    .users = SERIES("pipit_users_online", "Users with a session, counted per event loop", NULL),
    .conversations = SERIES("pipit_conversations_followed",
                            "Conversations of these users, per event loop", NULL),
    .submits = SERIES("pipit_submits_total", "Messages handed to routing", NULL),
    .deliveries = SERIES("pipit_deliveries_total", "Deliveries received from routing", NULL),
    .handed_out = SERIES("pipit_events_handed_out_total", "Messages handed to sessions", NULL),
    .duplicates =
        SERIES("pipit_deliveries_repeated_total", "Deliveries ignored: handed out before", NULL),
    .gaps = {[HUB_GAP_SEQ] = GAP("seq"),
             [HUB_GAP_HEAD] = GAP("head"),
             [HUB_GAP_MEMBERS] = GAP("members"),
             [HUB_GAP_FAILED] = GAP("failed")},
    .troubles = {[HUB_TROUBLE_GAP] = TROUBLE("gap"),
                 [HUB_TROUBLE_BOOT] = TROUBLE("new_boot"),
                 [HUB_TROUBLE_SILENT] = TROUBLE("silent")},
    .syncs = SERIES("pipit_syncs_total", "Pages of history read for clients", NULL),
    .backlog_messages =
        SERIES("pipit_backlog_messages_total", "Missed messages handed to MQTT sessions", NULL),
    .retries =
        SERIES("pipit_submit_retries_total",
               "Batches that came back from a routing instance that was lost or drains", NULL),
    .logins_checked = SERIES("pipit_tokens_verified_total", "Access tokens verified", NULL),
    .logins_cached =
        SERIES("pipit_tokens_cached_total", "Access tokens found verified before", NULL),
    .ended = SERIES("pipit_sessions_ended_total",
                    "Sessions ended by the server: taken over, expired, revoked", NULL),
    .limit_hits = {[HUB_LIMIT_SESSIONS_PER_USER] = LIMIT("sessions_per_user_max"),
                   [HUB_LIMIT_INFLIGHT] = LIMIT("inflight_per_session"),
                   [HUB_LIMIT_RATE] = LIMIT("messages_per_second"),
                   [HUB_LIMIT_SUBMITS] = LIMIT("submits"),
                   [HUB_LIMIT_BATCH] = LIMIT("batch"),
                   [HUB_LIMIT_USERS] = LIMIT("users"),
                   [HUB_LIMIT_CONVERSATIONS] = LIMIT("conversations"),
                   [HUB_LIMIT_MEMBERSHIPS] = LIMIT("memberships"),
                   [HUB_LIMIT_BACKLOGS] = LIMIT("backlogs"),
                   [HUB_LIMIT_READS] = LIMIT("reads"),
                   [HUB_LIMIT_MARKS] = LIMIT("marks"),
                   [HUB_LIMIT_INTEREST_LOG] = LIMIT("interest_log"),
                   [HUB_LIMIT_REVOCATIONS] = LIMIT("revocations")},
    .shed = {[HUB_SHED_PRESENCE] = SHED("presence"),
             [HUB_SHED_TYPING] = SHED("typing"),
             [HUB_SHED_RECEIPT] = SHED("receipt")},
    .open_us = SERIES("pipit_session_open_duration_seconds",
                      "From a checked token to a live session", NULL),
    .submit_us = SERIES("pipit_submit_duration_seconds",
                        "From a message read to its acknowledgement by routing", NULL),
    .delivery_us =
        SERIES("pipit_delivery_duration_seconds",
               "From the acceptance of a message (clock of routing) to its hand-out", NULL),
};

static void register_counters(struct metric_counter *counters, size_t count) {
    for (size_t i = 0; i < count; i++) {
        metric_counter_register(&counters[i]);
    }
}

void hub_metrics_register(void) {
    struct hub_metrics *all = &hub_metrics;
    for (size_t i = 0; i < COUNT(all->sessions); i++) {
        metric_gauge_register(&all->sessions[i]);
    }
    metric_gauge_register(&all->users);
    metric_gauge_register(&all->conversations);
    struct metric_counter *single[] = {
        &all->submits,        &all->deliveries,   &all->handed_out,       &all->duplicates,
        &all->syncs,          &all->retries,      &all->backlog_messages, &all->ended,
        &all->logins_checked, &all->logins_cached};
    for (size_t i = 0; i < COUNT(single); i++) {
        metric_counter_register(single[i]);
    }
    register_counters(all->gaps, COUNT(all->gaps));
    register_counters(all->troubles, COUNT(all->troubles));
    register_counters(all->limit_hits, COUNT(all->limit_hits));
    register_counters(all->shed, COUNT(all->shed));
    metric_histogram_register(&all->open_us);
    metric_histogram_register(&all->submit_us);
    metric_histogram_register(&all->delivery_us);
}
