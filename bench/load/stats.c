/* Time, latencies, processor time, and the one line of JSON a run prints. */
#define _GNU_SOURCE
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t started, stopped, own_cpu, server_cpu;
static char line[8192];
static size_t line_size;

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t))
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

/* 32 buckets for each power of two: the error is at most 3 %. */
static int bucket(uint64_t value)
{
    int shift = value < 32 ? 0 : 63 - __builtin_clzll(value) - 5;

    return shift * 32 + (int)(value >> shift);
}

void note(struct histogram *h, uint64_t nanoseconds)
{
    h->counts[bucket(nanoseconds)]++;
    h->total++;
    if (nanoseconds > h->highest)
        h->highest = nanoseconds;
}

double quantile(const struct histogram *h, double q)
{
    uint64_t needed = (uint64_t)(q * (double)h->total), passed = 0;

    for (int i = 0; i < 64 * 32; i++) {
        passed += h->counts[i];
        if (passed > needed) {
            int shift = i < 64 ? 0 : i / 32 - 1;

            return (double)((uint64_t)(i - shift * 32) << shift) / 1000;
        }
    }
    return (double)h->highest / 1000;
}

/* Processor time of all processes given by --pid, all their threads included. */
static uint64_t cpu_of_servers(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < options.pids.count; i++) {
        clockid_t clock;

        if (clock_getcpuclockid(atoi(options.pids.at[i]), &clock))
            fail("--pid %s: there is no such process", options.pids.at[i]);
        sum += read_clock(clock);
    }
    return sum;
}

void meter_start(void)
{
    own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    server_cpu = cpu_of_servers();
    started = now();
}

void meter_stop(void)
{
    stopped = now();
    own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - own_cpu;
    server_cpu = cpu_of_servers() - server_cpu;
}

double meter_seconds(void) { return (double)(stopped - started) / 1e9; }

static void add(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line_size += (size_t)vsnprintf(line + line_size, sizeof line - line_size, format, arguments);
    va_end(arguments);
}

static void begin(const char *name)
{
    const char *before = line_size ? (options.json ? "," : "\n") : (options.json ? "{" : "");

    if (options.json)
        add("%s\"%s\":", before, name);
    else
        add("%s%-24s", before, name);
}

void report_text(const char *name, const char *value)
{
    begin(name);
    if (!options.json) {
        add("%s", value);
        return;
    }
    add("\"");
    for (; *value; value++)
        add(*value == '"' || *value == '\\' ? "\\%c" : (unsigned char)*value < 32 ? "\\u%04x" : "%c", *value);
    add("\"");
}

void report_count(const char *name, uint64_t value)
{
    begin(name);
    add("%llu", (unsigned long long)value);
}

void report_real(const char *name, double value)
{
    begin(name);
    add("%.6g", value);
}

void report_latency(const char *prefix, const struct histogram *h)
{
    static const struct { const char *name; double q; } places[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    char name[64];

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, places[i].name);
        report_real(name, quantile(h, places[i].q));
    }
    snprintf(name, sizeof name, "%smax_us", prefix);
    report_real(name, (double)h->highest / 1000);
}

void report_meter(uint64_t deliveries)
{
    double seconds = meter_seconds(), own = (double)own_cpu / 1e9, server = (double)server_cpu / 1e9;

    report_real("seconds", seconds);
    report_real("per_second", (double)deliveries / seconds);
    report_real("load_cpu_seconds", own);
    report_real("load_idle", own < seconds ? 1 - own / seconds : 0);
    if (options.pids.count) {
        report_real("server_cpu_seconds", server);
        report_real("server_idle", server < seconds ? 1 - server / seconds : 0);
        report_real("server_cpu_per_million", deliveries ? server * 1e6 / (double)deliveries : 0);
    }
}

void report_end(void)
{
    puts(options.json ? strcat(line, "}") : line);
    fflush(stdout);
    line_size = 0;
}

void fail(const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    line_size = 0;
    report_text("error", text);
    report_end();
    exit(1);
}
