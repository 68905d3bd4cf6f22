/* pipit-load: offers chat load to Pipit, or MQTT load to any broker, and prints what happened as
 * JSON. Exit status: 0 everything arrived once and in order, 1 something was lost, duplicated,
 * reordered or refused, 2 wrong usage. */
#include "loadtest/scenario.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char usage[] =
    "usage: pipit-load --port P [options]\n"
    "  --protocol mqtt|ws       default mqtt\n"
    "  --accounts FILE          lines \"name token\" (loadtest/accounts.py makes them)\n"
    "  --clients N              default 500, an even number; --idle N of them only listen\n"
    "  --rate R                 messages a second over all clients (open loop); 0 = saturate\n"
    "  --window W               with rate 0: unacknowledged sends per client, default 8\n"
    "  --bytes B                payload, default 100;  --seconds S  default 10\n"
    "  --send-topic T           %s = receiver, default pipit/u/%s/send (ws: %s)\n"
    "  --inbox T                %s = own name, default pipit/me/inbox;  --inbox-qos 0|1\n"
    "  --pids A,B,...           processes whose CPU and memory are reported\n";

static void print_latency(const char *name, const struct histogram *histogram) {
    printf("  \"%s_ms\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, "
           "\"max\": %.3f},\n",
           name, (double)histogram_percentile(histogram, 0.5) / 1e3,
           (double)histogram_percentile(histogram, 0.9) / 1e3,
           (double)histogram_percentile(histogram, 0.99) / 1e3,
           (double)histogram_percentile(histogram, 0.999) / 1e3, (double)histogram->max_us / 1e3);
}

static void print_result(const struct scenario_options *options,
                         const struct scenario_result *result) {
    uint64_t cpu_us = 0, pss_kib = 0, written = 0;
    for (unsigned i = 0; i < options->pid_count; i++) {
        cpu_us += result->after[i].cpu_us - result->before[i].cpu_us;
        pss_kib += result->after[i].pss_kib;
        written += result->after[i].written_bytes - result->before[i].written_bytes;
    }
    double acked = result->acked > 0 ? (double)result->acked : 1;
    uint64_t self_us = result->self_after.cpu_us - result->self_before.cpu_us;
    printf("{\n  \"protocol\": \"%s\", \"clients\": %u, \"rate\": %.0f, \"window\": %u, "
           "\"payload_bytes\": %u,\n",
           options->protocol_name, options->clients, options->rate, options->window,
           options->payload_bytes);
    printf("  \"seconds\": %.3f, \"connect_seconds\": %.3f,\n", result->seconds,
           result->connect_seconds);
    printf("  \"sent\": %llu, \"acked\": %llu, \"received\": %llu, \"acked_per_second\": %.0f,\n",
           (unsigned long long)result->sent, (unsigned long long)result->acked,
           (unsigned long long)result->received, (double)result->acked / result->seconds);
    printf("  \"lost\": %lld, \"duplicated\": %llu, \"reordered\": %llu, \"refused\": %llu, "
           "\"closed\": %llu,\n",
           (long long)result->sent - (long long)result->received + (long long)result->duplicated,
           (unsigned long long)result->duplicated, (unsigned long long)result->reordered,
           (unsigned long long)result->refused, (unsigned long long)result->closed);
    print_latency("ack", &result->ack);
    print_latency("delivery", &result->delivery);
    printf("  \"server_cpu_us_per_message\": %.1f, \"generator_cpu_us_per_message\": %.1f,\n",
           (double)cpu_us / acked, (double)self_us / acked);
    printf("  \"server_cpu_us\": [");
    for (unsigned i = 0; i < options->pid_count; i++) {
        printf("%s%llu", i > 0 ? ", " : "",
               (unsigned long long)(result->after[i].cpu_us - result->before[i].cpu_us));
    }
    printf("],\n  \"server_pss_kib\": %llu, \"server_written_bytes\": %llu\n}\n",
           (unsigned long long)pss_kib, (unsigned long long)written);
}

static void parse_pids(struct scenario_options *options, char *list) {
    for (char *part = strtok(list, ",");
         part != NULL && options->pid_count < SCENARIO_PROCESSES_MAX; part = strtok(NULL, ",")) {
        options->pids[options->pid_count++] = strtol(part, NULL, 10);
    }
}

static bool parse_option(struct scenario_options *options, int option) {
    switch (option) {
    case 'P':
        options->protocol = strcmp(optarg, "ws") == 0 ? &client_ws : &client_mqtt;
        options->protocol_name = options->protocol == &client_ws ? "ws" : "mqtt";
        return strcmp(optarg, options->protocol_name) == 0;
    case 'p':
        options->port = (uint16_t)strtoul(optarg, NULL, 10);
        return true;
    case 'a':
        options->accounts = optarg;
        return true;
    case 'c':
        options->clients = (uint32_t)strtoul(optarg, NULL, 10);
        return options->clients > 0;
    case 'i':
        options->idle = (uint32_t)strtoul(optarg, NULL, 10);
        return true;
    case 'r':
        options->rate = strtod(optarg, NULL);
        return true;
    case 'w':
        options->window = (uint32_t)strtoul(optarg, NULL, 10);
        return options->window > 0 && options->window <= 1024;
    case 'b':
        options->payload_bytes = (uint32_t)strtoul(optarg, NULL, 10);
        return options->payload_bytes <= 2048;
    case 's':
        options->seconds = strtod(optarg, NULL);
        return options->seconds > 0;
    case 't':
        options->send_topic = optarg;
        return true;
    case 'n':
        options->inbox = optarg;
        return true;
    case 'q':
        options->inbox_qos = (unsigned)strtoul(optarg, NULL, 10);
        return options->inbox_qos <= 1;
    case 'I':
        parse_pids(options, optarg);
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv) {
    static const struct option table[] = {{"protocol", 1, NULL, 'P'},   {"port", 1, NULL, 'p'},
                                          {"accounts", 1, NULL, 'a'},   {"clients", 1, NULL, 'c'},
                                          {"idle", 1, NULL, 'i'},       {"rate", 1, NULL, 'r'},
                                          {"window", 1, NULL, 'w'},     {"bytes", 1, NULL, 'b'},
                                          {"seconds", 1, NULL, 's'},    {"inbox", 1, NULL, 'n'},
                                          {"send-topic", 1, NULL, 't'}, {"inbox-qos", 1, NULL, 'q'},
                                          {"pids", 1, NULL, 'I'},       {NULL, 0, NULL, 0}};
    struct scenario_options options = {.protocol = &client_mqtt,
                                       .protocol_name = "mqtt",
                                       .inbox = "pipit/me/inbox",
                                       .inbox_qos = 1,
                                       .clients = 500,
                                       .window = 8,
                                       .payload_bytes = 100,
                                       .seconds = 10};
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (!parse_option(&options, option)) {
            (void)fputs(usage, stderr);
            return 2;
        }
    }
    if (options.port == 0 || options.idle >= options.clients ||
        (options.clients - options.idle) % 2 != 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (options.send_topic == NULL) {
        options.send_topic = options.protocol == &client_ws ? "%s" : "pipit/u/%s/send";
    }
    struct rlimit files = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* what it is will do for fewer clients */
    }
    static struct scenario_result result;
    if (scenario_direct(&options, &result) != 0) {
        (void)fprintf(stderr, "no message could be sent\n");
        return 1;
    }
    print_result(&options, &result);
    bool whole = result.received == result.sent && result.acked == result.sent;
    return whole && result.duplicated + result.reordered + result.refused == 0 ? 0 : 1;
}
