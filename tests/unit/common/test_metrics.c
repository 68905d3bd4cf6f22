/* test_metrics: the exposition byte by byte, grouping, buckets, threads, and a full buffer. The
 * registry is the process's, so each test looks for its own names. */
#include "common/metrics.h"
#include "common/mem.h"
#include "tests/unit/common/support_process.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[256 * 1024];

static const char *render(void) {
    struct buf out;
    buf_init(&out, sizeof(text) - 1);
    assert_int_equal(metrics_render(&out), ERR_OK);
    memcpy(text, buf_data(&out), buf_len(&out));
    text[buf_len(&out)] = '\0';
    buf_finish(&out);
    return text;
}

static unsigned occurrences(const char *needle) {
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, needle)) != NULL; at++) {
        count++;
    }
    return count;
}

static int64_t read_seven(void *user) {
    return *(int64_t *)user + 1;
}

static void counters_and_gauges_are_shown(void **state) {
    (void)state;
    static int64_t six = 6;
    static struct metric_counter sent = {.name = "t_sent_total", .help = "Back\\slash\nnew line."};
    static struct metric_gauge open_now = {.name = "t_open", .help = "Open."};
    static struct metric_gauge seven = {
        .name = "t_seven", .help = "Read.", .labels = "a=\"b\"", .read = read_seven, .user = &six};
    metric_counter_register(&sent);
    metric_gauge_register(&open_now);
    metric_gauge_register(&seven);
    metric_add(&sent, 3);
    metric_add(&sent, 4);
    metric_set(&open_now, 10);
    metric_shift(&open_now, -12);
    assert_non_null(strstr(render(), "# HELP t_sent_total Back\\\\slash\\nnew line.\n"
                                     "# TYPE t_sent_total counter\n"
                                     "t_sent_total 7\n"
                                     "# HELP t_open Open.\n"
                                     "# TYPE t_open gauge\n"
                                     "t_open -2\n"
                                     "# HELP t_seven Read.\n"
                                     "# TYPE t_seven gauge\n"
                                     "t_seven{a=\"b\"} 7\n"));
}

static void a_name_is_announced_once(void **state) {
    (void)state;
    static struct metric_counter ws = {
        .name = "t_frames_total", .help = "Frames.", .labels = "proto=\"ws\""};
    static struct metric_counter other = {.name = "t_other_total", .help = "Other."};
    static struct metric_counter mqtt = {
        .name = "t_frames_total", .help = "Frames.", .labels = "proto=\"mqtt\""};
    metric_counter_register(&ws);
    metric_counter_register(&other);
    metric_counter_register(&mqtt);
    metric_counter_register(&ws); /* again: no effect */
    assert_non_null(strstr(render(), "t_frames_total{proto=\"ws\"} 0\n"
                                     "t_frames_total{proto=\"mqtt\"} 0\n"));
    assert_int_equal(occurrences("# TYPE t_frames_total counter\n"), 1);
    assert_int_equal(occurrences("# HELP t_frames_total"), 1);
    assert_int_equal(occurrences("t_frames_total{proto=\"ws\"}"), 1);
}

static void histograms_are_cumulative(void **state) {
    (void)state;
    static struct metric_histogram latency = {.name = "t_latency_seconds", .help = "Latency."};
    static struct metric_histogram size = {
        .name = "t_size", .help = "Size.", .labels = "k=\"v\"", .plain = true};
    metric_histogram_register(&latency);
    metric_histogram_register(&size);
    const uint64_t values[] = {0, 100, 101, 200, 13107200, 13107201, 1u << 30};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        metric_observe(&latency, values[i]);
    }
    metric_observe(&size, 1);
    metric_observe(&size, 3);
    metric_observe(&size, 131072);
    metric_observe(&size, UINT64_MAX / 2);
    const char *all = render();
    assert_non_null(strstr(all, "# TYPE t_latency_seconds histogram\n"
                                "t_latency_seconds_bucket{le=\"0.0001\"} 2\n"
                                "t_latency_seconds_bucket{le=\"0.0002\"} 4\n"
                                "t_latency_seconds_bucket{le=\"0.0004\"} 4\n"));
    assert_non_null(strstr(all, "t_latency_seconds_bucket{le=\"6.5536\"} 4\n"
                                "t_latency_seconds_bucket{le=\"13.1072\"} 5\n"
                                "t_latency_seconds_bucket{le=\"+Inf\"} 7\n"
                                "t_latency_seconds_sum 1099.956626\n"
                                "t_latency_seconds_count 7\n"));
    assert_non_null(strstr(all, "t_size_bucket{k=\"v\",le=\"1\"} 1\n"
                                "t_size_bucket{k=\"v\",le=\"2\"} 1\n"
                                "t_size_bucket{k=\"v\",le=\"4\"} 2\n"));
    assert_non_null(strstr(all, "t_size_bucket{k=\"v\",le=\"131072\"} 3\n"
                                "t_size_bucket{k=\"v\",le=\"+Inf\"} 4\n"
                                "t_size_sum{k=\"v\"} 9223372036854906883\n"
                                "t_size_count{k=\"v\"} 4\n"));
}

static struct metric_counter shared = {.name = "t_shared_total", .help = "Shared."};
static struct metric_histogram shared_times = {.name = "t_shared_seconds", .help = "Shared."};

static void *update_many(void *unused) {
    (void)unused;
    for (uint64_t i = 0; i < 10000; i++) {
        metric_add(&shared, 1);
        metric_observe(&shared_times, i);
    }
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    pthread_t threads[4];
    metric_counter_register(&shared);
    metric_histogram_register(&shared_times);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, update_many, NULL), 0);
    }
    for (size_t i = 0; i < 20; i++) {
        (void)render(); /* scrapes meanwhile */
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_non_null(strstr(render(), "\nt_shared_total 40000\n"));
    assert_non_null(strstr(text, "\nt_shared_seconds_count 40000\n"));
}

static double value_of(const char *name) {
    const char *at = strstr(render(), name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

static void the_process_is_described(void **state) {
    (void)state;
    metrics_register_process("9.8.7", "abcdef");
    assert_non_null(strstr(render(), "pipit_build_info{version=\"9.8.7\",commit=\"abcdef\"} 1\n"));
    assert_non_null(strstr(text, "# TYPE process_cpu_seconds_total counter\n"));
    assert_true(value_of("\nprocess_cpu_seconds_total ") > 0);
    assert_true(value_of("\nprocess_resident_memory_bytes ") > 100000);
    assert_true(value_of("\nprocess_start_time_seconds ") > 1.6e9);
    double before = value_of("\nprocess_open_fds ");
    FILE *file = fopen("/dev/null", "r");
    assert_non_null(file);
    assert_true(value_of("\nprocess_open_fds ") == before + 1);
    (void)fclose(file);
}

static void descriptions_are_lines(void **state) {
    (void)state;
    static struct metric_gauge described = {
        .name = "t_described", .help = "What it is.", .labels = "x=\"y\""};
    struct buf out;
    metric_gauge_register(&described);
    buf_init(&out, sizeof(text) - 1);
    assert_int_equal(metrics_describe(&out), ERR_OK);
    assert_int_equal(buf_append(&out, "", 1), ERR_OK);
    assert_non_null(
        strstr((const char *)buf_data(&out), "t_described\tgauge\tWhat it is.\tx=\"y\"\n"));
    buf_finish(&out);
}

static void a_full_buffer_is_an_error(void **state) {
    (void)state;
    struct buf out;
    (void)render();
    size_t whole = strlen(text);
    for (size_t cap = 1; cap < whole - 64; cap += 97) { /* gauges may change their width */
        buf_init(&out, cap);
        assert_int_equal(metrics_render(&out), ERR_TOO_LARGE);
        buf_finish(&out);
    }
    buf_init(&out, sizeof(text));
    (void)mem_fault_set(2, UINT64_MAX);
    assert_int_equal(metrics_render(&out), ERR_NO_MEMORY);
    (void)mem_fault_set(0, 0);
    buf_finish(&out);
}

static void two_kinds_of_one_name(void) {
    static struct metric_counter counter = {.name = "t_twice", .help = ""};
    static struct metric_gauge gauge = {.name = "t_twice", .help = ""};
    metric_counter_register(&counter);
    metric_gauge_register(&gauge);
}

static void a_name_has_one_kind(void **state) {
    (void)state;
    assert_true(support_aborts(two_kinds_of_one_name));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_shown), cmocka_unit_test(a_name_is_announced_once),
        cmocka_unit_test(histograms_are_cumulative),     cmocka_unit_test(threads_lose_nothing),
        cmocka_unit_test(the_process_is_described),      cmocka_unit_test(descriptions_are_lines),
        cmocka_unit_test(a_full_buffer_is_an_error),     cmocka_unit_test(a_name_has_one_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
