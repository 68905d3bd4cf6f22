/* conformance: proves the promises of store.h against the back end that PIPIT_TEST_STORE names. */
#include "tests/conformance/commands.h"
#include "tests/conformance/support.h"

int main(void) {
    commands_watch();
    int failed = messages_tests() + history_tests() + cursors_tests() + conversations_tests() +
                 list_tests() + members_tests() + accounts_tests() + sessions_tests() +
                 admin_tests() + groups_tests() + concurrency_tests() + instances_tests() +
                 repair_tests() + races_tests() + account_repair_tests();
    return failed + commands_tests(); /* judges what all the others sent */
}
