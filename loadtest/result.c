/* result: JSON on stdout, one object. Times are milliseconds unless a name says otherwise. */
#include "loadtest/result.h"

#include "loadtest/scenario.h"

#include <stdio.h>
#include <string.h>

static double per(double amount, double count) {
    return count > 0 ? amount / count : 0;
}

static void print_count(const char *name, uint64_t count) {
    printf(", \"%s\": %llu", name, (unsigned long long)count);
}

static void print_number(const char *name, double number) {
    printf(", \"%s\": %.3f", name, number);
}

static double percentile_ms(const struct histogram *histogram, double fraction) {
    return (double)histogram_percentile(histogram, fraction) / 1e3;
}

static bool print_bucket(uint64_t upper_us, uint64_t count, void *user) {
    bool *first = user;
    printf("%s[%llu, %llu]", *first ? "" : ", ", (unsigned long long)upper_us,
           (unsigned long long)count);
    *first = false;
    return true;
}

static void print_latency(const char *name, const struct histogram *histogram) {
    if (histogram->total == 0) {
        return;
    }
    printf(",\n  \"%s_ms\": {\"count\": %llu", name, (unsigned long long)histogram->total);
    print_number("mean", per(histogram->sum_us, (double)histogram->total) / 1e3);
    print_number("p50", percentile_ms(histogram, 0.5));
    print_number("p90", percentile_ms(histogram, 0.9));
    print_number("p99", percentile_ms(histogram, 0.99));
    print_number("p999", percentile_ms(histogram, 0.999));
    print_number("max", (double)histogram->max_us / 1e3);
    printf("},\n  \"%s_histogram\": [", name);
    bool first = true;
    histogram_each(histogram, print_bucket, &first);
    printf("]");
}

static void print_timeline(const struct result *result) {
    size_t last = (size_t)result->seconds + 1;
    last = last < RESULT_SECONDS_MAX ? last : RESULT_SECONDS_MAX;
    printf(",\n  \"timeline\": [");
    for (size_t i = 0; i < last; i++) {
        const struct second *second = &result->timeline[i];
        printf("%s{\"t\": %zu, \"acked\": %u, \"delivered\": %u, \"logins\": %u}",
               i > 0 ? ", " : "", i, second->acked, second->delivered, second->logins);
    }
    printf("]");
}

static void print_services(const struct load_options *options, const struct result *result) {
    printf(",\n  \"services\": [");
    for (unsigned i = 0; i < options->pid_count; i++) {
        const struct process_stats *before = &result->before[i], *after = &result->after[i];
        printf("%s\n    {\"name\": \"%s\", \"pid\": %ld", i > 0 ? "," : "", after->name,
               options->pids[i]);
        print_count("cpu_us", after->cpu_us - before->cpu_us);
        print_count("pss_kib_before", result->empty[i].pss_kib);
        print_count("pss_kib_after", after->pss_kib);
        print_count("written_bytes", after->written_bytes - before->written_bytes);
        printf("}");
    }
    printf("]");
}

static void print_costs(const struct load_options *options, const struct result *result) {
    double cpu_us = 0, grown_kib = 0;
    for (unsigned i = 0; i < options->pid_count; i++) {
        cpu_us += (double)(result->after[i].cpu_us - result->before[i].cpu_us);
        grown_kib += (double)result->after[i].pss_kib - (double)result->empty[i].pss_kib;
    }
    double self_us = (double)(result->self_after.cpu_us - result->self_before.cpu_us);
    if (options->pid_count > 0) {
        print_number("server_cpu_us_per_message", per(cpu_us, (double)result->acked));
        print_number("server_cpu_us_per_delivery",
                     per(cpu_us, (double)(result->received + result->echoes)));
        print_number("server_cpu_us_per_second", per(cpu_us, result->seconds));
        print_number("pss_kib_per_connection", per(grown_kib, (double)options->clients));
    }
    print_number("generator_cpu_us_per_message", per(self_us, (double)result->acked));
}

uint64_t result_lost(const struct result *result) {
    uint64_t arrived = result->received - result->duplicated;
    return result->expected > arrived ? result->expected - arrived : 0;
}

bool result_whole(const struct result *result) {
    return result_lost(result) + result->duplicated + result->reordered + result->refused +
                   result->missing + result->closed ==
               0 &&
           result->acked == result->sent;
}

void result_print(const struct load_options *options, const struct result *result) {
    const struct scenario *scenario = scenario_find(options->scenario);
    printf("{\n  \"scenario\": \"%s\", \"protocol\": \"%s\"", options->scenario,
           scenario->protocol != NULL ? scenario->protocol : options->protocol_name);
    print_count("clients", options->clients);
    print_count("idle", options->idle);
    print_count("group_size", options->group_size);
    print_number("rate", options->rate);
    print_count("window", options->window);
    print_count("payload_bytes", options->payload_bytes);
    print_number("seconds", result->seconds);
    print_number("connect_seconds", result->connect_seconds);
    printf(",\n  \"whole\": %s", result_whole(result) ? "true" : "false");
    print_count("sent", result->sent);
    print_count("acked", result->acked);
    print_count("received", result->received);
    print_count("echoes", result->echoes);
    print_count("lost", result_lost(result));
    print_count("duplicated", result->duplicated);
    print_count("reordered", result->reordered);
    print_count("refused", result->refused);
    print_count("retried", result->retried);
    print_count("closed", result->closed);
    print_count("logins", result->logins);
    print_count("back", result->back);
    print_count("missing", result->missing);
    printf(",\n  \"acked_per_second\": %.1f", per((double)result->acked, result->seconds));
    print_number("delivered_per_second",
                 per((double)(result->received + result->echoes), result->seconds));
    print_costs(options, result);
    print_latency("ack", &result->ack);
    print_latency("delivery", &result->delivery);
    print_latency("delivery_during_logins", &result->delivery_during_logins);
    print_latency("login", &result->login);
    print_latency("back", &result->back_in);
    print_services(options, result);
    print_timeline(result);
    printf("\n}\n");
}
