/* One-to-one chat. Open loop (a rate): message k is due at start + k / rate, whatever happened to
 * the ones before, and latency counts from that moment, so a stalled server cannot hide its stall
 * (coordinated omission). Closed loop (a window): each client keeps `window` sends unacknowledged;
 * that finds the saturated rate.
 *
 * Every receiver has one sender, so order is checked by one counter: number = last + 1 is right,
 * below is a duplicate or came late, above leaves a hole that a later arrival may turn into
 * "reordered"; what never arrives is sent - received. */
#include "loadtest/scenario.h"

#include "common/clock.h"
#include "common/contract.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_US 500
#define CONNECTS_AT_ONCE 200
#define DRAIN_SECONDS 5
#define RING_BITS 12
#define RING (1u << RING_BITS)

struct run {
    const struct scenario_options *options;
    struct scenario_result *result;
    struct loop *loop;
    struct client *clients;
    uint32_t *expected; /* per receiver: next number of its sender */
    uint32_t opened, ready, active;
    bool sending;
    uint64_t start_us, stop_us, scheduled, born_us;
    struct loop_timer tick;
    char payload[4096];
};
static struct run run; /* the generator runs one scenario */

static void send_one(struct client *client, uint64_t intended_us) {
    int head = snprintf(run.payload, sizeof run.payload, "~%u.%u.%llu~", client->index,
                        client->sent, (unsigned long long)intended_us);
    size_t bytes = run.options->payload_bytes;
    if ((size_t)head < bytes) {
        memset(run.payload + head, 'x', bytes - (size_t)head);
    } else {
        bytes = (size_t)head;
    }
    client->sent_at_us[client->sent & (RING - 1)] = intended_us;
    client->sent++;
    client->in_flight++;
    run.result->sent++;
    client->protocol->send(client, run.payload, bytes);
}

static void on_ready(struct client *client) {
    (void)client;
    run.ready++;
}

static void on_acked(struct client *client, uint32_t count) {
    uint64_t now_us = clock_mono_us();
    for (uint32_t i = 0; i < count && client->in_flight > 0; i++) {
        histogram_record(&run.result->ack, now_us - client->sent_at_us[client->acked & (RING - 1)]);
        client->acked++;
        client->in_flight--;
        run.result->acked++;
    }
    while (run.sending && run.options->rate <= 0 && client->index < run.active &&
           client->in_flight < run.options->window) {
        send_one(client, clock_mono_us()); /* flushed by the caller after the read */
    }
}

static void on_message(struct client *client, uint32_t sender, uint32_t number, uint64_t sent_us) {
    if (sender == client->index) {
        return; /* an echo of one's own message: allowed, but no delivery */
    }
    CONTRACT(sender == (client->index ^ 1u));
    histogram_record(&run.result->delivery, clock_mono_us() - sent_us);
    uint32_t expected = run.expected[client->index];
    run.result->received++;
    if (number >= expected) {
        run.expected[client->index] = number + 1;
        run.result->reordered += number > expected;
    } else {
        run.result->duplicated++;
    }
}

static void on_refused(struct client *client, const char *text, size_t bytes) {
    if (run.result->refused++ < 3) {
        (void)fprintf(stderr, "refused (%s): %.*s\n", client->name, (int)bytes, text);
    }
}

static void on_closed(struct client *client) {
    if (run.result->closed++ < 3) {
        (void)fprintf(stderr, "closed: %s\n", client->name);
    }
}

static const struct client_events events = {on_ready, on_acked, on_message, on_refused, on_closed};

static void open_more(void) {
    while (run.opened < run.options->clients &&
           run.opened < run.ready + (uint32_t)run.result->closed + CONNECTS_AT_ONCE) {
        client_open(&run.clients[run.opened++], run.options->port);
    }
}

static void read_processes(struct process_stats *stats) {
    for (unsigned i = 0; i < run.options->pid_count; i++) {
        stats[i] = process_stats_read(run.options->pids[i]);
    }
}

static void begin_sending(uint64_t now_us) {
    run.result->connect_seconds = (double)(now_us - run.born_us) / 1e6;
    read_processes(run.result->before);
    run.result->self_before = process_stats_read((long)getpid());
    run.start_us = clock_mono_us();
    run.sending = true;
    if (run.options->rate > 0) {
        return;
    }
    for (uint32_t i = 0; i < run.active; i++) {
        for (uint32_t k = 0; k < run.options->window; k++) {
            send_one(&run.clients[i], clock_mono_us());
        }
        client_flush(&run.clients[i]);
    }
}

static void send_due(uint64_t now_us) {
    double gap_us = 1e6 / run.options->rate;
    for (;;) {
        uint64_t due_us = run.start_us + (uint64_t)((double)run.scheduled * gap_us);
        if (due_us > now_us) {
            return;
        }
        struct client *client = &run.clients[run.scheduled++ % run.active];
        if (client->ready && client->in_flight < RING) {
            send_one(client, due_us);
            client_flush(client);
        }
    }
}

static void on_tick(struct loop_timer *timer) {
    uint64_t now_us = clock_mono_us();
    loop_timer_start(run.loop, timer, TICK_US, on_tick);
    if (run.start_us == 0) {
        open_more();
        if (run.ready + run.result->closed >= run.options->clients) {
            begin_sending(now_us);
        }
        return;
    }
    uint64_t end_us = run.start_us + (uint64_t)(run.options->seconds * 1e6);
    if (run.sending && now_us >= end_us) {
        run.sending = false;
        run.stop_us = now_us;
        run.result->seconds = (double)(now_us - run.start_us) / 1e6;
        read_processes(run.result->after);
        run.result->self_after = process_stats_read((long)getpid());
    }
    if (run.sending && run.options->rate > 0) {
        send_due(now_us);
    }
    bool all = run.result->received >= run.result->sent && run.result->acked >= run.result->sent;
    if (!run.sending && (all || now_us > run.stop_us + DRAIN_SECONDS * 1000000ull)) {
        loop_stop(run.loop);
    }
}

static void name_client(struct client *client, FILE *accounts) {
    if (accounts == NULL) {
        (void)snprintf(client->name, sizeof client->name, "c%u", client->index);
    } else if (fscanf(accounts, "%39s %1023s", client->name, client->token) != 2) {
        (void)fprintf(stderr, "the accounts file ends at client %u\n", client->index);
        exit(2);
    }
}

/* The option is a topic pattern from the command line with one %s for a name. */
static void fill_pattern(char *out, size_t bytes, const char *pattern, const char *name) {
    const char *hole = strstr(pattern, "%s");
    if (hole == NULL) {
        (void)snprintf(out, bytes, "%s", pattern);
    } else {
        (void)snprintf(out, bytes, "%.*s%s%s", (int)(hole - pattern), pattern, name, hole + 2);
    }
}

static void make_clients(void) {
    const struct scenario_options *options = run.options;
    FILE *accounts = options->accounts == NULL ? NULL : fopen(options->accounts, "r");
    if (options->accounts != NULL && accounts == NULL) {
        perror(options->accounts);
        exit(2);
    }
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &run.clients[i];
        client->loop = run.loop;
        client->protocol = options->protocol;
        client->events = &events;
        client->index = i;
        client->inbox_qos = (uint8_t)options->inbox_qos;
        client->watch.fd = -1;
        client->sent_at_us = i < run.active ? calloc(RING, sizeof(uint64_t)) : NULL;
        buf_init(&client->in, 4u << 20);
        buf_init(&client->out, 64u << 20);
        name_client(client, accounts);
    }
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = &run.clients[i];
        uint32_t peer = (i ^ 1u) < options->clients ? (i ^ 1u) : i;
        fill_pattern(client->send_topic, sizeof client->send_topic, options->send_topic,
                     run.clients[peer].name);
        fill_pattern(client->inbox, sizeof client->inbox, options->inbox, client->name);
    }
    if (accounts != NULL) {
        (void)fclose(accounts);
    }
}

int scenario_direct(const struct scenario_options *options, struct scenario_result *result) {
    memset(&run, 0, sizeof run);
    run.options = options;
    run.result = result;
    run.active = options->clients - options->idle;
    run.clients = calloc(options->clients, sizeof *run.clients);
    run.expected = calloc(options->clients, sizeof *run.expected);
    CONTRACT(run.clients != NULL && run.expected != NULL && run.active % 2 == 0);
    if (loop_create(16, &run.loop) != ERR_OK) {
        return 1;
    }
    make_clients();
    run.born_us = clock_mono_us();
    loop_timer_start(run.loop, &run.tick, 1, on_tick);
    if (loop_run(run.loop) != ERR_OK) {
        return 1;
    }
    for (uint32_t i = 0; i < options->clients; i++) {
        client_close(&run.clients[i]);
        buf_finish(&run.clients[i].in);
        buf_finish(&run.clients[i].out);
        free(run.clients[i].sent_at_us);
    }
    loop_destroy(&run.loop);
    free(run.clients);
    free(run.expected);
    return result->sent > 0 ? 0 : 1;
}
