/* The tables that threads and processes share, used by threads at once: so ThreadSanitizer sees every access (it follows
 * threads, and not processes that share memory), and the sums must agree without it, too. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apr_general.h>
#include <sodium.h>

#include "mpx_cells.h"
#include "mpx_counters.h"
#include "tap.h"

#define NOW APR_INT64_C(1790000000000000)
#define MINUTE APR_INT64_C(60000000)
#define THREADS 4

static void *zeroed(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return memory;
}

static void at_once(void *(*work)(void *), void *baton)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, baton), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
}

/* --- mpx_cells ------------------------------------------------------------------------------------------------------- */

enum { KEYS = 120,
       BURST = 20,
       ROUNDS = 200 };

static struct {
    mpx_cells_t *cells;
    apr_uint64_t passed[ROUNDS][KEYS / 4];
    pthread_barrier_t round;
} limits;

/* A quarter of the keys at a time, each with a burst that is left alone for the next three rounds: cells change hands. */
static void *charge(void *baton)
{
    mpx_rate_t rate = { BURST, 1, BURST };

    for (int round = 0; round < ROUNDS; round++) {
        apr_uint64_t now = (apr_uint64_t)NOW + (apr_uint64_t)round * APR_UINT64_C(2000000000);
        pthread_barrier_wait(&limits.round);
        for (int i = 0; i < KEYS / 4 * BURST; i++) {
            int k = i % (KEYS / 4), key = k * 4 + round % 4;
            mpx_gcra_t g;
            if (mpx_cells_charge(limits.cells, &key, sizeof key, &rate, now, 1, &g) && g.allowed) {
                if (i % 7) {
                    __atomic_fetch_add(&limits.passed[round][k], 1, __ATOMIC_RELAXED);
                }
                else {
                    mpx_cells_refund(limits.cells, &key, sizeof key, &rate, 1);
                }
            }
        }
    }
    return baton;
}

START_TEST(limits_are_exact_in_threads)
{
    static const unsigned char secret[MPX_CELLS_SECRET] = "a secret of test";
    apr_uint64_t all = 0;

    limits.cells = mpx_cells_format(zeroed(4096), 1200, secret); /* one bucket */
    ck_assert_int_eq(pthread_barrier_init(&limits.round, NULL, THREADS), 0);
    at_once(charge, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < KEYS / 4; k++) {
            apr_uint64_t n = limits.passed[round][k];
            ck_assert_msg(n <= BURST, "round %d, key %d: %llu", round, k, (unsigned long long)n);
            all += n;
        }
    }
    /* what is given back when all others have been refused is nobody's */
    ck_assert_msg(all > ROUNDS * (KEYS / 4) * BURST * 95 / 100, "%llu in all", (unsigned long long)all);
}
END_TEST

/* Only one cell is free, and all ask for one key at once: whoever finds the bucket full then looks again whether the key has
 * got its cell meanwhile. */
static struct {
    mpx_cells_t *cells;
    int uncounted, passed;
    pthread_barrier_t begin, end;
} last;

enum { LAST_ROUNDS = 3000 };

static void *ask_for_the_last(void *baton)
{
    mpx_rate_t rate = { 1, 1, 1 };

    for (int round = 0; round < LAST_ROUNDS; round++) {
        apr_uint64_t now = (apr_uint64_t)NOW + (apr_uint64_t)round * APR_UINT64_C(10000000000);
        int key = 1000000 + round;
        mpx_gcra_t g;

        if (pthread_barrier_wait(&last.begin) == PTHREAD_BARRIER_SERIAL_THREAD) {
            for (int other = 0; other < 62; other++) {
                ck_assert_int_eq(mpx_cells_charge(last.cells, &other, sizeof other, &rate, now, 1, &g), 1);
            }
        }
        pthread_barrier_wait(&last.end);
        if (!mpx_cells_charge(last.cells, &key, sizeof key, &rate, now, 1, &g)) {
            __atomic_fetch_add(&last.uncounted, 1, __ATOMIC_RELAXED);
        }
        else if (g.allowed) {
            __atomic_fetch_add(&last.passed, 1, __ATOMIC_RELAXED);
        }
    }
    return baton;
}

START_TEST(the_last_cell_is_found_by_all)
{
    static const unsigned char secret[MPX_CELLS_SECRET] = "a secret of test";

    last.cells = mpx_cells_format(zeroed(4096), 1200, secret);
    ck_assert_int_eq(pthread_barrier_init(&last.begin, NULL, THREADS), 0);
    ck_assert_int_eq(pthread_barrier_init(&last.end, NULL, THREADS), 0);
    at_once(ask_for_the_last, NULL);
    ck_assert_int_eq(last.uncounted, 0);
    ck_assert_int_eq(last.passed, LAST_ROUNDS);
}
END_TEST

/* --- mpx_counters ---------------------------------------------------------------------------------------------------- */

static struct {
    mpx_counters_t *counters;
    apr_uint64_t added;
    int adding;
} usage;

static const mpx_uuid_t tenant = { { 7 } };

static int lives(int pid)
{
    return kill(pid, 0) == 0;
}

static void *add(void *baton)
{
    for (int i = 0; i < 40000; i++) {
        struct {
            int record;
            char more[60];
        } payload = { i % 50, "as long as a payload may well be, and a little longer" };
        if (mpx_counters_add(usage.counters, &tenant, NOW + i / 1000 * MINUTE, (int)getpid(), &payload, sizeof payload, 1)) {
            __atomic_fetch_add(&usage.added, 1, __ATOMIC_RELAXED);
        }
    }
    __atomic_fetch_sub(&usage.adding, 1, __ATOMIC_RELEASE);
    return baton;
}

static apr_uint64_t flush(apr_pool_t *pool)
{
    apr_array_header_t *ranges = apr_array_make(pool, 16, sizeof(mpx_counter_range_t));
    apr_uint64_t n = 0;

    mpx_counters_announce(usage.counters, 1000000, ranges);
    for (int i = 0; i < ranges->nelts; i++) {
        const mpx_counter_range_t *range = &APR_ARRAY_IDX(ranges, i, mpx_counter_range_t);
        int record;
        memcpy(&record, range->payload, sizeof record);
        ck_assert_msg(record >= 0 && record < 50 && range->len == 64, "record %d, %d bytes", record, (int)range->len);
        n += range->n;
        mpx_counters_settle(usage.counters, range);
    }
    mpx_counters_release(usage.counters, NOW + 1000 * MINUTE, lives);
    return n;
}

START_TEST(counts_agree_in_threads)
{
    static const unsigned char secret[MPX_COUNTERS_SECRET] = "another secret!";
    static const mpx_uuid_t id = { { 1 } };
    size_t size = 4096 + 200 * 1024;
    pthread_t threads[THREADS];
    apr_uint64_t flushed = 0;
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    usage.counters = mpx_counters_format(zeroed(size), size, &id, secret);
    usage.adding = THREADS;
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, add, NULL), 0);
    }
    while (__atomic_load_n(&usage.adding, __ATOMIC_ACQUIRE)) {
        flushed += flush(pool);
        apr_pool_clear(pool);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    flushed += flush(pool);
    ck_assert_msg(flushed == usage.added && flushed > 0, "%llu flushed, %llu added", (unsigned long long)flushed,
                  (unsigned long long)usage.added);
    apr_pool_destroy(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tcase = tcase_create("threads");

    apr_initialize();
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, limits_are_exact_in_threads);
    tcase_add_test(tcase, the_last_cell_is_found_by_all);
    tcase_add_test(tcase, counts_agree_in_threads);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
