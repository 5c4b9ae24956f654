/* A load generator for WebSocket servers: raw sockets, one thread, every delivery counted. README.md has the modes. */
#define _GNU_SOURCE
#include "load.h"
#include "tls.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

static const struct { const char *name; void (*run)(void); } modes[] = {
    {"fanout", run_fanout}, {"echo", run_echo}, {"connect", run_connect},
    {"idle", run_idle}, {"recover", run_recover}, {"publish", run_publish},
};

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        fail("--core %d: there is none", core);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < (rlim_t)options.connections + 50)
        fail("%d connections need more file descriptors than %lu: ulimit -n", options.connections,
             (unsigned long)limit.rlim_max);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (options.core >= 0)
        pin(options.core);
    if (options.tls)
        tls_start_client(options.tls_version, options.resume);
    loop_start();
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (!strcmp(options.mode, modes[i].name)) {
            modes[i].run();
            return 0;
        }
    }
    fail("%s is no mode: fanout, echo, connect, idle, recover, publish", options.mode);
}
