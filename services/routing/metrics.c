/* metrics: names and help texts of routing's time series. Two families have one series per value of
 * a label (the limit that was hit, the reason of a refusal): their labels come from the tables
 * here, so that a dashboard sees every series from the start, at zero. A reason that routing does
 * not know yet is counted as server_error, so the number of series stays what it is here.
 * Instances in one process (tests) share the counters. */
#include "services/routing/metrics.h"

#include <stdio.h>

#define COUNTER(metric, text) {.name = (metric), .help = (text)}
#define LABELLED(metric, text, label) {.name = (metric), .help = (text), .labels = (label)}
#define LIMIT_HIT(label)                                                                           \
    LABELLED("pipit_limit_hits_total", "Times a limit refused or dropped something.",              \
             "limit=\"" label "\"")
#define SHED(label)                                                                                \
    LABELLED("pipit_shed_total", "Signals and receipts dropped because of overload.",              \
             "kind=\"" label "\"")

struct routing_metrics routing_metrics = {
    .accepted = COUNTER("pipit_messages_accepted_total", "Messages stored and acknowledged."),
    .replays = COUNTER("pipit_messages_replayed_total",
                       "Repeated sends that were answered with the stored seq."),
    .conflicts = COUNTER("pipit_append_conflicts_total",
                         "Appends that found their seq taken by another instance."),
    .owner_changes =
        COUNTER("pipit_owner_changes_total", "Conversations found to be ahead of this instance."),
    .unknown_outcomes = COUNTER("pipit_append_unknown_total",
                                "Messages answered with timeout: they may be stored."),
    .deliveries = COUNTER("pipit_deliveries_total", "Deliveries published, one per endpoint."),
    .publish_failures =
        COUNTER("pipit_publish_failures_total", "Delivery batches that could not be published."),
    .kicks = COUNTER("pipit_sessions_kicked_total", "Sessions ended by a take-over."),
    .members_reloads = COUNTER("pipit_members_reloads_total", "Conversations loaded from storage."),
    .members_uncertain =
        COUNTER("pipit_members_uncertain_total", "Times all cached memberships were dropped."),
    .marks = COUNTER("pipit_marks_total", "Cursors written to storage."),
    .relays = COUNTER("pipit_relays_total", "Reads passed on to storage."),
    .appends_again = COUNTER("pipit_append_repeated_total",
                             "Messages appended again because a storage instance was lost."),
    .pauses = COUNTER("pipit_pauses_total", "Times this process did not run for two seconds."),
    .limit_hits = {LIMIT_HIT("messages_per_second"), LIMIT_HIT("conversations"),
                   LIMIT_HIT("members"), LIMIT_HIT("pending"),
                   LIMIT_HIT("pending_per_conversation"), LIMIT_HIT("pending_bytes"),
                   LIMIT_HIT("turn_memory"), LIMIT_HIT("storage_calls"), LIMIT_HIT("endpoints"),
                   LIMIT_HIT("interests"), LIMIT_HIT("sessions"), LIMIT_HIT("marks"),
                   LIMIT_HIT("signals"), LIMIT_HIT("refused_turns")},
    .shed = {SHED("presence"), SHED("typing"), SHED("receipts")},
    .accept_us = COUNTER("pipit_accept_duration_seconds",
                         "From receiving a message to its acknowledgement."),
    .append_us = COUNTER("pipit_append_duration_seconds", "Round trip of one append to storage."),
    .append_messages = {.name = "pipit_append_messages",
                        .help = "Messages in one append.",
                        .plain = true},
    .fanout_recipients = {.name = "pipit_fanout_recipients",
                          .help = "Endpoints that one message was published to.",
                          .plain = true},
    .pending = COUNTER("pipit_pending_messages", "Messages not yet answered."),
    .conversations = COUNTER("pipit_conversations_cached", "Conversations in memory."),
    .members = COUNTER("pipit_members_cached", "Members in memory."),
    .endpoints = COUNTER("pipit_endpoints", "Endpoints of connection instances known."),
    .interests = COUNTER("pipit_interests", "Conversations that endpoints care about."),
    .sessions = COUNTER("pipit_sessions_known", "Sessions known over all endpoints."),
};

/* Reasons are few and stable; one series each. */
#define REJECTED_MAX 64
static struct metric_counter rejected[REJECTED_MAX];
static char rejected_labels[REJECTED_MAX][48];
static const enum reason rejected_reasons[] = {
    REASON_DRAIN,      REASON_OVERLOAD,     REASON_SERVER_ERROR, REASON_MALFORMED,
    REASON_TOO_LARGE,  REASON_RATE_LIMITED, REASON_NOT_MEMBER,   REASON_FORBIDDEN,
    REASON_BLOCKED,    REASON_NOT_FOUND,    REASON_CONFLICT,     REASON_ID_OUT_OF_WINDOW,
    REASON_INVALID_ID, REASON_UNAVAILABLE,  REASON_STORAGE_FULL, REASON_TIMEOUT,
};

void routing_metrics_rejected(enum reason reason) {
    size_t row = (size_t)reason < REJECTED_MAX ? (size_t)reason : (size_t)REASON_SERVER_ERROR;
    if (rejected[row].name == NULL) {
        row = (size_t)REASON_SERVER_ERROR;
    }
    metric_add(&rejected[row], 1);
}

static void register_rejected(void) {
    for (size_t i = 0; i < sizeof rejected_reasons / sizeof rejected_reasons[0]; i++) {
        size_t row = (size_t)rejected_reasons[i];
        (void)snprintf(rejected_labels[row], sizeof rejected_labels[row], "reason=\"%.36s\"",
                       reason_code(rejected_reasons[i])); /* codes are short */
        rejected[row].name = "pipit_messages_rejected_total";
        rejected[row].help = "Messages refused, by reason.";
        rejected[row].labels = rejected_labels[row];
        metric_counter_register(&rejected[row]);
    }
}

void routing_metrics_register(void) {
    static bool registered;
    if (registered) {
        return;
    }
    registered = true;
    struct routing_metrics *all = &routing_metrics;
    struct metric_counter *counters[] = {
        &all->accepted,
        &all->replays,
        &all->conflicts,
        &all->owner_changes,
        &all->unknown_outcomes,
        &all->deliveries,
        &all->publish_failures,
        &all->kicks,
        &all->members_reloads,
        &all->members_uncertain,
        &all->marks,
        &all->relays,
        &all->appends_again,
        &all->pauses,
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        metric_counter_register(counters[i]);
    }
    for (size_t i = 0; i < LIMIT_HIT_COUNT; i++) {
        metric_counter_register(&all->limit_hits[i]);
    }
    for (size_t i = 0; i < SHED_COUNT; i++) {
        metric_counter_register(&all->shed[i]);
    }
    register_rejected();
    struct metric_histogram *histograms[] = {&all->accept_us, &all->append_us,
                                             &all->append_messages, &all->fanout_recipients};
    for (size_t i = 0; i < sizeof histograms / sizeof histograms[0]; i++) {
        metric_histogram_register(histograms[i]);
    }
    struct metric_gauge *gauges[] = {&all->pending,   &all->conversations, &all->members,
                                     &all->endpoints, &all->interests,     &all->sessions};
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
        metric_gauge_register(gauges[i]);
    }
}
