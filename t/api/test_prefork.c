/* A child of one thread: what serves the request also runs the signal handlers, which end the child in the midst of it. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SENDERS 4

static void up(void)
{
    h_up_stopped(NULL);
    h_main_httpd->mpm = "prefork";
    h_httpd_configure(h_main_httpd, "DBDKeep 2\nDBDMax 2\n<Location \"/sold\">\n  AuthType Meterplex\n"
                                    "  Require meterplex-scope demo:read\n  MeterplexRateLimit key 1000000/s\n"
                                    "  MeterplexMeter sold.request\n"
                                    "</Location>\n");
    h_httpd_start(h_main_httpd);
}

static const char *fresh_key(void)
{
    static int n;
    const char *key = h_key(h_tenant(h_format("prefork-%d-%d", (int)getpid(), n++)),
                            "demo:read usage:read usage:write meters:read meters:write", NULL, NULL);

    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}"),
             201);
    h_expect(h_post("/v1/meters", key,
                    "{\"key\":\"sent\",\"name\":\"s\",\"event_type\":\"sent\",\"aggregation\":\"count\"}"),
             201);
    return key;
}

static long total(const char *key, const char *meter)
{
    const h_response_t *r = h_get(h_format("/v1/meters/%s/usage", meter), key);
    return r->status == 200 ? atol(h_json_text(r, "/data/0/value")) : -1;
}

/* What the senders share. */
typedef struct load {
    volatile int stop;
    long served, acknowledged;
} load_t;

/* One request and one event after the other; an event until it is acknowledged. */
static void send_for_ever(load_t *load, const char *key, int sender)
{
    for (int i = 0; !load->stop; i++) {
        const char *event = h_format("{\"id\":\"%d-%d\",\"source\":\"load\",\"type\":\"sent\"}", sender, i);

        if (h_get("/sold/x", key)->status == 404) {
            __atomic_fetch_add(&load->served, 1, __ATOMIC_RELAXED);
        }
        while (h_post("/v1/usage/events", key, event)->status != 200 && !load->stop) {
            h_pause();
        }
        if (!load->stop) {
            __atomic_fetch_add(&load->acknowledged, 1, __ATOMIC_RELAXED);
        }
    }
    _exit(0);
}

static int ready(void)
{
    return h_get("/health/ready", NULL)->status == 200;
}

/* The handler of SIGTERM comes in the middle of a transaction, and there is nobody else to end it. */
START_TEST(a_stop_in_the_middle_of_a_transaction_is_quick)
{
    const char *key = fresh_key();
    load_t *load = mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[SENDERS];
    long long begun = h_now_ms(), idle;

    h_httpd_stop(h_main_httpd);
    idle = h_now_ms() - begun;
    h_httpd_start(h_main_httpd);
    H_WAIT(5, ready());
    for (int p = 0; p < SENDERS; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            send_for_ever(load, key, p);
        }
    }
    for (int i = 0; i < 5; i++) {
        long aim = load->acknowledged + 40;

        H_WAIT(10, load->acknowledged > aim);
        begun = h_now_ms();
        h_httpd_stop(h_main_httpd);
        ck_assert_msg(h_now_ms() - begun < idle + 4000, "it took %lld ms, %lld ms at leisure", h_now_ms() - begun, idle);
        h_httpd_start(h_main_httpd);
    }
    load->stop = 1;
    for (int p = 0; p < SENDERS; p++) {
        waitpid(pids[p], NULL, 0);
    }
    ck_assert(!h_httpd_logged(h_main_httpd, "still did not exit"));
    /* whom a stop has cut off may have been counted, and does not know: one of each sender's at each stop */
    H_WAIT(5, total(key, "sold") >= load->served);
    ck_assert_msg(total(key, "sold") <= load->served + 5 * SENDERS, "%ld counted, %ld served", total(key, "sold"),
                  load->served);
    ck_assert_msg(total(key, "sent") >= load->acknowledged && total(key, "sent") <= load->acknowledged + SENDERS,
                  "%ld events, %ld acknowledged", total(key, "sent"), load->acknowledged);
}
END_TEST

START_TEST(reloads_lose_nothing)
{
    const char *key = fresh_key();
    long served = 0;

    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 20; k++) {
            served += h_get("/sold/x", key)->status == 404;
        }
        h_httpd_graceful(h_main_httpd);
    }
    H_WAIT(5, ready() && total(key, "sold") == served);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefork");
    TCase *tcase = tcase_create("prefork");

    tcase_set_timeout(tcase, 180);
    tcase_add_test(tcase, a_stop_in_the_middle_of_a_transaction_is_quick);
    tcase_add_test(tcase, reloads_lose_nothing);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
