/* mpx_cells: limits shared by processes: exact, whatever they do at once, and whole after a kill. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>
#include <sodium.h>

#include "mpx_cells.h"
#include "tap.h"

#define NOW APR_UINT64_C(1000000000000)
#define ONE_BUCKET 1200 /* bytes: room for one of 63 cells */

static const unsigned char secret[MPX_CELLS_SECRET] = "a secret of test";

static void *shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

/* Processes that hammer: each counts what it was allowed into its own word. */
static void hammer(mpx_cells_t *cells, apr_uint64_t *allowed, int keys, long tries, apr_uint64_t step)
{
    mpx_rate_t rate = { 100, 86400, 100 };
    for (long i = 0; i < tries; i++) {
        char key[16];
        mpx_gcra_t g;
        int k = (int)((i * 7919) % keys);
        apr_size_t len = (apr_size_t)snprintf(key, sizeof key, "key %d", k);
        if (mpx_cells_charge(cells, key, len, &rate, NOW + (apr_uint64_t)i * step, 1, &g) && g.allowed) {
            __atomic_fetch_add(&allowed[k], 1, __ATOMIC_RELAXED);
        }
    }
}

START_TEST(exactly_the_burst_passes_in_four_processes)
{
    size_t size = 1 << 20;
    mpx_cells_t *cells = mpx_cells_format(shared_memory(size), size, secret);
    apr_uint64_t *allowed = shared_memory(4096);

    for (int p = 0; p < 4; p++) {
        if (fork() == 0) {
            hammer(cells, allowed, 50, 250000, 0);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    for (int k = 0; k < 50; k++) {
        ck_assert_msg(allowed[k] == 100, "key %d: %llu of a limit of 100", k, (unsigned long long)allowed[k]);
    }
    ck_assert(mpx_cells_used(cells, NOW) == 50);
}
END_TEST

/* A single bucket and twice as many keys as it has cells, of which a quarter ask at a time, second by second: cells change
 * hands constantly, between processes that share one clock. A key passes once in each of its seconds. */
START_TEST(changing_hands_admits_nobody_too_often)
{
    enum { KEYS = 120,
           GROUPS = 4,
           SECONDS = 1000,
           STEPS = 1000, /* of the clock in a second */
           QUIET = 100,  /* the last of them: nobody asks, so that no time is near the next second's */
           LATE = 20 };  /* whose clock is older has been asleep: what it does is another second's */
    mpx_cells_t *cells = mpx_cells_format(shared_memory(4096), ONE_BUCKET, secret);
    mpx_rate_t rate = { 1, 1, 1 };
    apr_uint64_t *passed = shared_memory(KEYS * SECONDS * sizeof *passed), *clock = shared_memory(4096), all = 0;

    for (int p = 0; p < 4; p++) {
        if (fork() == 0) {
            for (;;) {
                apr_uint64_t step = __atomic_fetch_add(clock, 1, __ATOMIC_ACQ_REL), second = step / STEPS;
                apr_uint64_t k = step / 4 * 7 % (KEYS / GROUPS) * GROUPS + second % GROUPS; /* four ask at once */
                apr_uint64_t now = NOW + step * (APR_UINT64_C(1000000000) / STEPS);
                mpx_gcra_t g;
                if (second >= SECONDS) {
                    _exit(0);
                }
                if (step % STEPS < STEPS - QUIET && mpx_cells_charge(cells, &k, sizeof k, &rate, now, 1, &g) && g.allowed
                    && __atomic_load_n(clock, __ATOMIC_ACQUIRE) - step < LATE) {
                    __atomic_fetch_add(&passed[k * SECONDS + second], 1, __ATOMIC_RELAXED);
                }
            }
        }
    }
    while (wait(NULL) > 0) {
    }
    for (int k = 0; k < KEYS; k++) {
        for (int second = 0; second < SECONDS; second++) {
            apr_uint64_t n = passed[k * SECONDS + second];
            ck_assert_msg(n <= 1, "key %d passed %llu times in second %d", k, (unsigned long long)n, second);
            all += n;
        }
    }
    ck_assert_msg(all > KEYS / GROUPS * SECONDS / 2, "only %llu passed", (unsigned long long)all);
}
END_TEST

/* What the operator is told there is room for must be there, or nearly: chance fills no bucket long before the table is
 * full. */
START_TEST(there_is_room_nearly_to_the_end)
{
    size_t size = 4 << 20;
    mpx_cells_t *cells = mpx_cells_format(shared_memory(size), size, secret);
    apr_uint64_t capacity = mpx_cells_capacity(cells), k = 0, refused = 0;
    mpx_rate_t rate = { 5, 60, 5 };
    mpx_gcra_t g;

    ck_assert_uint_gt(capacity, size / 17);
    for (; k < capacity * 6 / 10; k++) {
        refused += !mpx_cells_charge(cells, &k, sizeof k, &rate, NOW, 1, &g);
    }
    ck_assert_msg(refused <= capacity / 10000, "%llu of %llu", (unsigned long long)refused, (unsigned long long)k);
    for (; k < capacity * 8 / 10; k++) {
        refused += !mpx_cells_charge(cells, &k, sizeof k, &rate, NOW, 1, &g);
    }
    ck_assert_msg(refused <= capacity / 100, "%llu of %llu", (unsigned long long)refused, (unsigned long long)k);
    ck_assert(mpx_cells_used(cells, NOW) == k - refused);
}
END_TEST

START_TEST(a_kill_leaves_a_table_that_works)
{
    size_t size = 1 << 16;
    mpx_cells_t *cells = mpx_cells_format(shared_memory(size), size, secret);
    apr_uint64_t *allowed = shared_memory(4096);
    mpx_rate_t rate = { 100, 86400, 100 };
    mpx_gcra_t g;

    for (int round = 0; round < 50; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            hammer(cells, allowed, 200, 100000000, 0);
            _exit(0);
        }
        for (volatile int spin = 0; spin < 200000 + round * 1000; spin++) {
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    for (int k = 0; k < 200; k++) {
        char key[16];
        apr_size_t len = (apr_size_t)snprintf(key, sizeof key, "key %d", k);
        /* a charge may have been made and not counted by who was killed, never the other way round */
        mpx_cells_look(cells, key, len, &rate, NOW, 1, &g);
        ck_assert(allowed[k] <= 100 && 100 - g.remaining >= allowed[k]);
    }
    ck_assert_int_eq(mpx_cells_charge(cells, "another", 7, &rate, NOW, 1, &g), 1);
    ck_assert(g.allowed && g.remaining == 99);
}
END_TEST

START_TEST(full_says_so_and_refund_gives_back)
{
    mpx_cells_t *cells = mpx_cells_format(shared_memory(4096), ONE_BUCKET, secret);
    mpx_rate_t rate = { 5, 60, 5 };
    mpx_gcra_t g;
    int rooms = 0;

    for (int k = 0; k < 100; k++) {
        rooms += mpx_cells_charge(cells, &k, sizeof k, &rate, NOW, 1, &g);
        ck_assert(g.allowed);
    }
    ck_assert_int_eq(rooms, 63);
    ck_assert(mpx_cells_used(cells, NOW) == 63);
    for (int k = 0; k < 100; k++) {
        mpx_cells_refund(cells, &k, sizeof k, &rate, 1);
        mpx_cells_look(cells, &k, sizeof k, &rate, NOW, 5, &g);
        ck_assert(g.allowed);
    }
    ck_assert(mpx_cells_used(cells, NOW + 100) == 0); /* each took its cell at a nanosecond of its own */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cells");
    TCase *tcase = tcase_create("cells");

    apr_initialize();
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, exactly_the_burst_passes_in_four_processes);
    tcase_add_test(tcase, changing_hands_admits_nobody_too_often);
    tcase_add_test(tcase, there_is_room_nearly_to_the_end);
    tcase_add_test(tcase, a_kill_leaves_a_table_that_works);
    tcase_add_test(tcase, full_says_so_and_refund_gives_back);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
