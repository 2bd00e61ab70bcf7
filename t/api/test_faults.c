/* What outlives what: PostgreSQL gone, frozen and back; httpd's processes killed and reloaded under load. */
#include "harness.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char conf[] = "StartServers 3\n"
                           "<Location \"/sold\">\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n  "
                           "MeterplexMeter sold.request\n</Location>\n";

static void up(void)
{
    h_up(conf);
}

static int made(const char *path, const char *key, const char *body, const h_response_t **answer)
{
    *answer = h_post(path, key, body);
    return (*answer)->status == 201;
}

/* A tenant with a key and two meters. The case before may have had the database away a moment ago. */
static const char *fresh_key(void)
{
    static const char *const meters[] = {
        "{\"key\":\"sold\",\"name\":\"s\",\"event_type\":\"sold.request\",\"aggregation\":\"count\"}",
        "{\"key\":\"sent\",\"name\":\"s\",\"event_type\":\"sent\",\"aggregation\":\"count\"}",
    };
    static int n;
    const char *tenant = h_format("{\"name\":\"f\",\"slug\":\"fault-%d-%d\"}", (int)getpid(), n++), *path, *key;
    const h_response_t *r;

    H_WAIT(10, made("/v1/tenants", h_admin_key(), tenant, &r));
    path = h_format("/v1/tenants/%s/api-keys", h_json_text(r, "/id"));
    H_WAIT(10, made(path, h_admin_key(), "{\"name\":\"k\",\"scopes\":[\"usage:read\",\"usage:write\",\"meters:read\","
                                         "\"meters:write\",\"demo:read\"]}",
                    &r));
    key = h_json_text(r, "/secret");
    for (int i = 0; i < 2; i++) {
        H_WAIT(10, made("/v1/meters", key, meters[i], &r));
    }
    return key;
}

static int ready(void)
{
    return h_get("/health/ready", NULL)->status == 200;
}

/* Each child finds the database again by itself: many answers in a row, each over a connection of its own, say that
 * all have. */
static int works(const char *key)
{
    static const char *const headers[] = { "Connection: close", NULL };
    h_request_t request = { .path = "/v1/meters", .key = key, .headers = headers };
    int i;

    for (i = 0; i < 60 && h_send(&request)->status == 200; i++) {
    }
    return i == 60;
}

static long total(const char *key, const char *meter)
{
    const h_response_t *r = h_get(h_format("/v1/meters/%s/usage", meter), key);
    const char *value = r->status == 200 ? h_json_text(r, "/data/0/value") : NULL;
    return value ? atol(value) : -1;
}

/* Counters of a load that other processes make. */
typedef struct load {
    volatile int stop;
    long served, refused, broken, acknowledged;
    long longest, longest_idle; /* milliseconds: answers that need the database, and that need nothing */
} load_t;

static load_t *load_make(void)
{
    load_t *load = mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(load, MAP_FAILED);
    return load;
}

static void get_for_ever(load_t *load, const char *key)
{
    while (!load->stop) {
        int status = h_get("/sold/x", key)->status;
        __atomic_fetch_add(status == 404 ? &load->served : status == 0 ? &load->broken
                                                                       : &load->refused,
                           1, __ATOMIC_RELAXED);
    }
    _exit(0);
}

/* Each event until it is acknowledged: what is answered otherwise, or not at all, is sent again under the same id. */
static void send_for_ever(load_t *load, const char *key, int sender)
{
    for (int i = 0; !load->stop; i++) {
        const char *event = h_format("{\"id\":\"%d-%d\",\"source\":\"load\",\"type\":\"sent\"}", sender, i);
        while (h_post("/v1/usage/events", key, event)->status != 200 && !load->stop) {
        }
        if (!load->stop) {
            __atomic_fetch_add(&load->acknowledged, 1, __ATOMIC_RELAXED);
        }
    }
    _exit(0);
}

static void load_start(load_t *load, const char *key, pid_t pids[4])
{
    for (int p = 0; p < 4; p++) {
        pids[p] = fork();
        ck_assert_int_ge(pids[p], 0);
        if (pids[p] == 0) {
            p < 2 ? get_for_ever(load, key) : send_for_ever(load, key, p);
        }
    }
    H_WAIT(10, load->served > 50 && load->acknowledged > 5);
}

static void load_end(load_t *load, const pid_t *pids, int n)
{
    load->stop = 1;
    for (int p = 0; p < n; p++) {
        waitpid(pids[p], NULL, 0);
    }
}

/* Lines of a file of /proc that contain a text. */
static int lines_with(const char *path, const char *text)
{
    char line[1024];
    FILE *f = fopen(path, "r");
    int n = 0;

    while (f && fgets(line, sizeof line, f)) {
        n += strstr(line, text) != NULL;
    }
    if (f) {
        fclose(f);
    }
    return n;
}

/* What a reload could leave behind: memory that our server's parent shares with its children (an anonymous segment has no
 * name but this), and what has a name in the system: segments and semaphores of POSIX and of System V, other programs' among
 * them. */
typedef struct shared {
    int mappings, named;
} shared_t;

static shared_t shared(void)
{
    shared_t found = { lines_with(h_format("/proc/%d/maps", (int)h_httpd_pid(h_main_httpd)), "rw-s"),
                       lines_with("/proc/sysvipc/shm", "") + lines_with("/proc/sysvipc/sem", "") };
    DIR *dir = opendir("/dev/shm");

    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        found.named += strstr(e->d_name, "PostgreSQL") == NULL; /* clusters of other tests come and go */
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

START_TEST(without_a_database_known_keys_are_served)
{
    const char *key = fresh_key();
    long before;

    h_expect(h_get("/sold/x", key), 404);
    H_WAIT(5, total(key, "sold") == 1);
    h_pg_stop(H_PG_IMMEDIATE);
    /* long enough that a job which fails would rest, and its lease go to another child */
    before = 1;
    for (long long end = h_now_ms() + 5000; h_now_ms() < end; before++) {
        const h_response_t *r = h_get("/v1/meters", key);
        h_expect_problem(r, 503, "unavailable");
        ck_assert_int_ge(atoi(h_header(r, "retry-after")), 1);
        ck_assert_msg(r->seconds < 1, "%g s", r->seconds);
        h_expect(h_get("/sold/x", key), 404);
        /* an unknown key is neither refused nor waited for */
        r = h_get("/sold/x", "mpx_live_0000000000000000000000000000000000000000000_000000");
        ck_assert_msg(r->status == 401 && r->seconds < 1, "a wrong checksum needs no database");
    }
    h_pg_start();
    H_WAIT(5, ready() && works(key));
    H_WAIT(2, total(key, "sold") == before);
}
END_TEST

static void signal_cluster(int signal_number)
{
    const char *list = h_format("/proc/%d/task/%d/children", (int)h_pg_pid(), (int)h_pg_pid());
    char *text = h_read_file(list), *state = NULL;

    kill(h_pg_pid(), signal_number);
    for (char *pid = text ? strtok_r(text, " ", &state) : NULL; pid; pid = strtok_r(NULL, " ", &state)) {
        kill((pid_t)atoi(pid), signal_number);
    }
}

START_TEST(a_frozen_database_costs_nobody_a_second)
{
    const char *key = fresh_key();

    h_expect(h_get("/sold/x", key), 404);
    signal_cluster(SIGSTOP);
    for (int i = 0; i < 8; i++) {
        const h_response_t *r = h_get("/v1/meters", key);
        int status = r->status;
        double seconds = r->seconds;
        if (status != 503 || seconds >= 1) {
            signal_cluster(SIGCONT);
            ck_abort_msg("answer %d: status %d after %g s", i, status, seconds);
        }
        if (h_get("/sold/x", key)->status != 404) {
            signal_cluster(SIGCONT);
            ck_abort_msg("a known key is not served");
        }
    }
    signal_cluster(SIGCONT);
    H_WAIT(5, ready() && works(key));
}
END_TEST

static void note_longest(long *longest, const h_response_t *r)
{
    long ms = (long)(r->seconds * 1000), seen;
    while (ms > (seen = *(volatile long *)longest) && !__sync_bool_compare_and_swap(longest, seen, ms)) {
    }
}

/* Children that have just begun, all of their connections in use: they notice as the others do. Two more clients ask for
 * what needs no database: what those wait is the machine's, which is busy with all of them. */
START_TEST(a_frozen_database_is_noticed_by_busy_newcomers)
{
    const char *key = fresh_key();
    load_t *load = load_make();
    pid_t pids[14];
    long long frozen;

    for (int p = 0; p < 14; p++) {
        pids[p] = fork();
        ck_assert_int_ge(pids[p], 0);
        for (int i = 0; pids[p] == 0 && !load->stop; i++) {
            const h_response_t *r;
            if (p >= 12) {
                note_longest(&load->longest_idle, h_get("/health/live", NULL));
                continue;
            }
            r = h_get("/v1/usage/events?limit=200", key);
            note_longest(&load->longest, r);
            __atomic_fetch_add(r->status == 200 ? &load->served : &load->refused, 1, __ATOMIC_RELAXED);
        }
        if (pids[p] == 0) {
            _exit(0);
        }
    }
    H_WAIT(10, load->served > 50);
    h_httpd_graceful(h_main_httpd);
    frozen = h_now_ms() + 300;
    H_WAIT(2, h_now_ms() > frozen);
    load->longest = load->longest_idle = 0;
    signal_cluster(SIGSTOP);
    frozen = h_now_ms() + 4000;
    H_WAIT(10, h_now_ms() > frozen);
    signal_cluster(SIGCONT);
    load_end(load, pids, 14);
    /* a second is the rule; on the way lie three waits, each of which ends as late as the machine lets it */
    ck_assert_msg(load->longest < 1000 + 3 * load->longest_idle && load->refused > 0,
                  "the longest took %ld ms, %ld ms where nothing was to be waited for; %ld refused", load->longest,
                  load->longest_idle, load->refused);
    H_WAIT(5, ready() && works(key));
}
END_TEST

static int listening_since(const char *time)
{
    return atoi(h_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meterplex listener' "
                      "AND backend_start > '%s'",
                      time))
        > 0;
}

/* Every connection of the pools has a last word to be read, and its end behind it. */
START_TEST(connections_that_were_ended_serve_nobody)
{
    const char *key = fresh_key();
    load_t *load = load_make();
    pid_t pids[24];

    for (int round = 0; round < 3; round++) {
        load->stop = 0;
        for (int p = 0; p < 24; p++) {
            pids[p] = fork();
            ck_assert_int_ge(pids[p], 0);
            while (pids[p] == 0 && !load->stop) {
                h_get("/v1/usage/events?limit=200", key);
            }
            if (pids[p] == 0) {
                _exit(0);
            }
        }
        H_WAIT(10, atoi(h_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meterplex'")) > 12);
        load_end(load, pids, 24);
        h_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'meterplex'");
        H_WAIT(5, atoi(h_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meterplex' "
                             "AND application_name = 'meterplex listener'"))
                   > 0);
        for (int i = 0; i < 60; i++) {
            h_expect(h_get("/v1/meters", key), 200);
        }
    }
}
END_TEST

/* A migration holds the tables of keys: who is known is served, who is not is told to come again. */
START_TEST(locked_tables_hold_up_nobody_who_is_known)
{
    const char *key = fresh_key(), *other = h_key(h_tenant(h_format("locked-%d", (int)getpid())), "demo:read", NULL, NULL);
    pid_t locker;
    double longest = 0;
    const h_response_t *r;
    const char *reload = h_sql("SELECT now()");

    h_httpd_configure(h_main_httpd, h_format("%sMeterplexPrincipalTTL 1s\n", conf));
    h_httpd_graceful(h_main_httpd);
    /* what was remembered before the reload is looked up again once somebody listens, and is due anyway after a second */
    H_WAIT(5, listening_since(reload));
    for (long long end = h_now_ms() + 1200; h_now_ms() < end; h_pause()) {
        h_expect(h_get("/sold/x", key), 404);
    }
    locker = h_lock_tables("identity.api_keys, identity.api_key_secrets", 6);
    for (long long end = h_now_ms() + 4000; h_now_ms() < end;) {
        r = h_get("/sold/x", key);
        h_expect(r, 404);
        longest = r->seconds > longest ? r->seconds : longest;
    }
    ck_assert_msg(longest < 1, "the longest took %g s", longest);
    r = h_get("/sold/x", other);
    h_expect_problem(r, 503, "unavailable");
    ck_assert_msg(r->seconds < 1.5, "%g s", r->seconds);
    waitpid(locker, NULL, 0);
    h_httpd_configure(h_main_httpd, conf);
    h_httpd_graceful(h_main_httpd);
    H_WAIT(5, h_get("/sold/x", other)->status == 404);
}
END_TEST

START_TEST(killed_processes_lose_and_double_nothing)
{
    const char *key = fresh_key();
    load_t *load = load_make();
    pid_t pids[4];
    long served;

    h_httpd_expect_log("cgisock"); /* mod_cgid's daemon, when its parent is killed under it */
    h_httpd_expect_log("cgid daemon failed to initialize");
    load_start(load, key, pids);
    for (int i = 0; i < 3; i++) {
        long aim = load->served + 200;
        h_httpd_kill_child(h_main_httpd);
        H_WAIT(10, load->served > aim);
    }
    h_httpd_kill(h_main_httpd);
    h_httpd_start(h_main_httpd);
    served = load->served + 200;
    H_WAIT(10, load->served > served);
    load_end(load, pids, 4);
    served = load->served;
    ck_assert_int_eq(load->refused, 0);
    /* A request that was cut off may have been counted before its connection was: one for each connection that broke. */
    for (long long deadline = h_now_ms() + 5000; total(key, "sold") < served && h_now_ms() < deadline; h_pause()) {
    }
    ck_assert_msg(total(key, "sold") >= served, "%ld counted, %ld served, %ld cut off", total(key, "sold"), served,
                  load->broken);
    ck_assert_msg(total(key, "sold") <= served + load->broken, "%ld counted, %ld served, %ld cut off", total(key, "sold"),
                  served, load->broken);
    ck_assert_msg(total(key, "sent") >= load->acknowledged && total(key, "sent") <= load->acknowledged + 2,
                  "%ld events, %ld acknowledged", total(key, "sent"), load->acknowledged);
}
END_TEST

START_TEST(fifty_reloads_lose_nothing)
{
    const char *key = fresh_key();
    load_t *load = load_make();
    pid_t pids[4];
    shared_t before, after;

    h_httpd_graceful(h_main_httpd); /* the first one may find more in its place than a start does */
    before = shared();
    ck_assert_int_ge(before.mappings, 3); /* the scoreboard, our segment, the counters */
    load_start(load, key, pids);
    for (int i = 0; i < 50; i++) {
        h_httpd_graceful(h_main_httpd);
    }
    load_end(load, pids, 4);
    ck_assert_int_eq(load->refused, 0);
    /* A kept-alive connection that is closed just as the next request is sent is the client's to repeat (RFC 9112
     * 9.3.1): such a request was not begun, and not counted. */
    H_WAIT(5, total(key, "sold") == load->served);
    ck_assert_msg(total(key, "sent") >= load->acknowledged && total(key, "sent") <= load->acknowledged + 2,
                  "%ld events, %ld acknowledged", total(key, "sent"), load->acknowledged);
    after = shared();
    ck_assert_int_eq(after.mappings, before.mappings);
    /* fifty, were one left at each; a few are what other programs do meanwhile */
    ck_assert_msg(after.named < before.named + 25, "%d segments and semaphores, %d before", after.named, before.named);
}
END_TEST

START_TEST(a_restart_of_the_database_under_load_doubles_nothing)
{
    const char *key = fresh_key();
    load_t *load = load_make();
    pid_t pids[4];

    load_start(load, key, pids);
    for (int i = 0; i < 3; i++) {
        long aim = load->acknowledged + 20;
        h_pg_stop(H_PG_IMMEDIATE);
        h_pg_start();
        H_WAIT(10, load->acknowledged > aim);
    }
    load_end(load, pids, 4);
    ck_assert_int_eq(load->refused, 0);
    H_WAIT(5, works(key));
    H_WAIT(5, total(key, "sold") == load->served);
    ck_assert_msg(total(key, "sent") >= load->acknowledged && total(key, "sent") <= load->acknowledged + 2,
                  "%ld events, %ld acknowledged", total(key, "sent"), load->acknowledged);
}
END_TEST

static int waits_for_a_lock(void)
{
    return atoi(h_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'meterplex' AND wait_event_type = 'Lock'")) > 0;
}

/* A job is in the middle of its transaction when its child ends. The child must end without a crash (the alarming
 * lines of the log are looked at when this program ends), and soon. */
static void end_in_the_middle_of_a_job(void (*end)(h_httpd_t *))
{
    const char *key = fresh_key();
    long long begun = h_now_ms(), idle;
    pid_t locker;

    end(h_main_httpd);
    idle = h_now_ms() - begun;
    H_WAIT(5, ready() && works(key));
    h_expect(h_get("/sold/x", key), 404); /* its last use is written down within three seconds */
    locker = h_lock_tables("identity.api_keys", 7);
    H_WAIT(6, waits_for_a_lock());
    begun = h_now_ms();
    end(h_main_httpd);
    /* sanitizers take seconds to end a process; what is asked is what the job adds: a second of patience, not its lock */
    ck_assert_msg(h_now_ms() - begun < idle + 3000, "it took %lld ms, %lld ms at leisure", h_now_ms() - begun, idle);
    waitpid(locker, NULL, 0);
    H_WAIT(5, ready());
    ck_assert(!h_httpd_logged(h_main_httpd, "Segmentation fault"));
}

START_TEST(a_reload_in_the_middle_of_a_job)
{
    end_in_the_middle_of_a_job(h_httpd_graceful);
}
END_TEST

static void stop_and_start(h_httpd_t *httpd)
{
    h_httpd_stop(httpd);
    h_httpd_start(httpd);
}

START_TEST(a_stop_in_the_middle_of_a_job)
{
    end_in_the_middle_of_a_job(stop_and_start);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tcase = tcase_create("faults");

    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, without_a_database_known_keys_are_served);
    tcase_add_test(tcase, a_frozen_database_costs_nobody_a_second);
    tcase_add_test(tcase, a_frozen_database_is_noticed_by_busy_newcomers);
    tcase_add_test(tcase, connections_that_were_ended_serve_nobody);
    tcase_add_test(tcase, locked_tables_hold_up_nobody_who_is_known);
    tcase_add_test(tcase, killed_processes_lose_and_double_nothing);
    tcase_add_test(tcase, a_restart_of_the_database_under_load_doubles_nothing);
    tcase_add_test(tcase, fifty_reloads_lose_nothing);
    tcase_add_test(tcase, a_reload_in_the_middle_of_a_job);
    tcase_add_test(tcase, a_stop_in_the_middle_of_a_job);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
