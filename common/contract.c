/* contract: the end of a process that broke its own promise.
 *
 * The message is built on the stack and leaves in one write(2): the heap, stdio's locks and the log
 * may be what is broken. abort() gives a core dump and a signal exit status, which the supervisor
 * answers with a restart; the peers then see a closed connection, never a wrong acknowledgement. */
#include "common/contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void contract_failed(const char *condition, const char *file, int line) {
    char text[512];
    int length =
        snprintf(text, sizeof(text), "contract failed: %s at %s:%d\n", condition, file, line);
    if (length > 0) {
        size_t bytes = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
        ssize_t written = write(STDERR_FILENO, text, bytes);
        (void)written; /* nothing better to do on the way out */
    }
    abort();
}
