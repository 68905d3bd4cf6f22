/* support_process: child processes and diverted streams for tests.
 *
 * A contract ends the process, so it is proved in a child; the child leaves by _exit when the
 * contract did not fire, which the parent sees as "no". Streams are diverted into a memfd, not a
 * pipe, so a test that writes much cannot block on itself. */
#include "tests/unit/common/support_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAPTURE_BYTES (1024u * 1024u)

static int captured_fd = -1;
static int saved_fd = -1;
static int memory_fd = -1;
static char file_name[64];

bool support_aborts(void (*fn)(void)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none); /* a core would only be litter */
        (void)signal(SIGABRT, SIG_DFL);      /* cmocka catches it */
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(null, STDERR_FILENO);
        fn();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

void support_capture_begin(int fd) {
    (void)fflush(NULL);
    assert_int_equal(captured_fd, -1);
    captured_fd = fd;
    saved_fd = dup(fd);
    memory_fd = memfd_create("capture", MFD_CLOEXEC);
    assert_true(saved_fd >= 0 && memory_fd >= 0);
    /* The kernel does not guard a memfd's position between threads; appending is atomic. */
    assert_int_equal(fcntl(memory_fd, F_SETFL, O_APPEND), 0);
    assert_int_equal(dup2(memory_fd, fd), fd);
}

const char *support_capture_end(size_t *bytes) {
    static char text[CAPTURE_BYTES + 1];
    (void)fflush(NULL);
    assert_int_equal(dup2(saved_fd, captured_fd), captured_fd);
    ssize_t count = pread(memory_fd, text, CAPTURE_BYTES, 0);
    assert_true(count >= 0);
    text[count] = '\0';
    if (bytes != NULL) {
        *bytes = (size_t)count;
    }
    (void)close(saved_fd);
    (void)close(memory_fd);
    captured_fd = -1;
    return text;
}

static void remove_file(void) {
    (void)unlink(file_name);
}

const char *support_file(const char *content) {
    static bool registered;
    if (!registered) {
        assert_int_equal(atexit(remove_file), 0);
        registered = true;
    } else {
        remove_file();
    }
    (void)snprintf(file_name, sizeof(file_name), "/tmp/pipit-test-XXXXXX");
    int fd = mkstemp(file_name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    assert_int_equal(close(fd), 0);
    return file_name;
}
