/* commands: what the suite sent to a MongoDB, seen by libmongoc's command monitoring. Each command
 * is judged as it passes: every filter and sort served by an index (index_check.h), every write
 * acknowledged by a majority and its journal (I1), nothing that FerretDB or MongoDB 4.4 lacks. The
 * speed of the back end rests on that and on no measurement here. */
#ifndef PIPIT_TESTS_CONFORMANCE_COMMANDS_H
#define PIPIT_TESTS_CONFORMANCE_COMMANDS_H

/* From here on, before the first store is opened; does nothing to other back ends. */
void commands_watch(void);
/* The last suite: fails with each kind of command that broke a rule, and when too little was seen
 * to prove anything; planted commands prove that it can fail. */
int commands_tests(void);

#endif
