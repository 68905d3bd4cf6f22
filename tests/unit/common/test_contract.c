/* test_contract: a broken promise ends the process and says where. */
#include "common/contract.h"
#include "tests/unit/common/support_process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int evaluations;

static void break_it(void) {
    CONTRACT(evaluations > 1000);
}

static void keep_it(void) {
    CONTRACT(evaluations >= 0);
}

static void a_broken_contract_aborts(void **state) {
    (void)state;
    assert_true(support_aborts(break_it));
    assert_false(support_aborts(keep_it)); /* the checker itself can say no */
}

static void the_condition_is_evaluated_once(void **state) {
    (void)state;
    evaluations = 0;
    CONTRACT(++evaluations == 1);
    assert_int_equal(evaluations, 1);
}

static void the_message_names_condition_and_place(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        contract_failed("a < b", "common/x.c", 42);
    }
    (void)close(ends[1]);
    char text[512] = "";
    ssize_t count = read(ends[0], text, sizeof(text) - 1);
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(count > 0);
    assert_string_equal(text, "contract failed: a < b at common/x.c:42\n");
}

struct outer {
    int before;
    int inner;
};

static void the_container_is_found(void **state) {
    (void)state;
    struct outer outer = {1, 2};
    int *inner = &outer.inner;
    assert_ptr_equal(CONTAINER_OF(inner, struct outer, inner), &outer);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_broken_contract_aborts),
                                       cmocka_unit_test(the_condition_is_evaluated_once),
                                       cmocka_unit_test(the_message_names_condition_and_place),
                                       cmocka_unit_test(the_container_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
