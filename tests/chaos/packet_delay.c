/* packet_delay: holds back the packets of one network namespace (tc netem without its kernel
 * module).
 *
 * Usage: packet_delay QUEUE DELAY_MS JITTER_MS. Packets that a rule sends to NFQUEUE number QUEUE
 * are let go DELAY_MS plus up to JITTER_MS later, in the order they came; TCP would take reordering
 * for loss. At its end the kernel lets what is queued and all that follows pass (--queue-bypass).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define PACKETS_MAX 65536u

struct held {
    uint32_t id;
    uint64_t due_us;
};

struct line {
    struct nfq_q_handle *queue;
    struct held packets[PACKETS_MAX];
    unsigned first, count;
    uint64_t delay_us, jitter_us, last_due_us;
};

static uint64_t now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void let_go(struct line *line) {
    (void)nfq_set_verdict(line->queue, line->packets[line->first].id, NF_ACCEPT, 0, NULL);
    line->first = (line->first + 1) % PACKETS_MAX;
    line->count--;
}

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data,
                     void *user) {
    (void)queue;
    (void)message;
    struct line *line = user;
    if (line->count == PACKETS_MAX) {
        let_go(line);
    }
    uint64_t jitter = line->jitter_us > 0 ? (uint64_t)rand() % line->jitter_us : 0;
    uint64_t due = now_us() + line->delay_us + jitter;
    line->last_due_us = due > line->last_due_us ? due : line->last_due_us;
    line->packets[(line->first + line->count++) % PACKETS_MAX] = (struct held){
        .id = ntohl(nfq_get_msg_packet_hdr(data)->packet_id), .due_us = line->last_due_us};
    return 0;
}

static void serve(struct nfq_handle *handle, struct line *line) {
    static char buffer[65536];
    for (;;) {
        while (line->count > 0 && line->packets[line->first].due_us <= now_us()) {
            let_go(line);
        }
        struct timespec wait = {.tv_sec = 1};
        if (line->count > 0) {
            uint64_t left = line->packets[line->first].due_us - now_us();
            left = left > 1000000u ? 0 : left; /* due meanwhile */
            wait = (struct timespec){.tv_nsec = (long)(left * 1000u)};
        }
        struct pollfd socket = {.fd = nfq_fd(handle), .events = POLLIN};
        if (ppoll(&socket, 1, &wait, NULL) <= 0) {
            continue;
        }
        ssize_t count = recv(socket.fd, buffer, sizeof buffer, 0);
        if (count > 0) {
            (void)nfq_handle_packet(handle, buffer, (int)count);
        } else if (count < 0 && errno != ENOBUFS && errno != EINTR) {
            return;
        }
    }
}

int main(int argc, char **argv) {
    static struct line line;
    if (argc != 4) {
        fprintf(stderr, "usage: %s QUEUE DELAY_MS JITTER_MS\n", argv[0]);
        return 2;
    }
    line.delay_us = strtoull(argv[2], NULL, 10) * 1000u;
    line.jitter_us = strtoull(argv[3], NULL, 10) * 1000u;
    struct nfq_handle *handle = nfq_open();
    if (handle == NULL) {
        perror("nfq_open");
        return 1;
    }
    line.queue = nfq_create_queue(handle, (uint16_t)atoi(argv[1]), on_packet, &line);
    if (line.queue == NULL || nfq_set_mode(line.queue, NFQNL_COPY_META, 0) < 0) {
        perror("nfq_create_queue");
        return 1;
    }
    (void)nfq_set_queue_maxlen(line.queue, PACKETS_MAX);
    int size = 4 << 20;
    (void)setsockopt(nfq_fd(handle), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    puts("ready");
    fflush(stdout);
    serve(handle, &line);
    return 1;
}
