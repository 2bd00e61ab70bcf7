/* mpx_cache: what is stored is found, whole; what is dropped stays dropped; what a killed process leaves is a miss. */
#include "mpx_cache.h"
#include "tap.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#define SIZE (8u << 20)
#define SECOND apr_time_from_sec(1)
#define T0 apr_time_from_sec(1790000000)

static void *block;
static mpx_cache_t *cache;

static void setup(void)
{
    ck_assert_int_ge(sodium_init(), 0);
    block = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(block, MAP_FAILED);
    cache = mpx_cache_format(block, SIZE);
    ck_assert_ptr_nonnull(cache);
}

static void teardown(void)
{
    munmap(block, SIZE);
}

static void digest_of(uint64_t n, unsigned char out[MPX_CACHE_DIGEST])
{
    crypto_generichash(out, MPX_CACHE_DIGEST, (unsigned char *)&n, sizeof n, NULL, 0);
}

/* A value that can be recognised: its number, a counter, and bytes that follow from both. */
static apr_size_t value_of(uint64_t n, uint64_t round, apr_size_t len, unsigned char *out)
{
    memcpy(out, &n, 8);
    memcpy(out + 8, &round, 8);
    for (apr_size_t i = 16; i < len; i++) {
        out[i] = (unsigned char)(n * 31 + round * 17 + i);
    }
    return len;
}

static int value_is_whole(uint64_t n, const unsigned char *value, apr_size_t len)
{
    unsigned char expected[MPX_CACHE_VALUE_MAX];
    uint64_t round;

    memcpy(&round, value + 8, 8);
    value_of(n, round, len, expected);
    return memcmp(expected, value, len) == 0;
}

static int store(uint64_t n, uint64_t round, apr_size_t len, apr_time_t now)
{
    unsigned char digest[MPX_CACHE_DIGEST], value[MPX_CACHE_VALUE_MAX + 64];
    apr_uint64_t labels[2] = { n + 1, n % 10 + 1 };
    mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);

    digest_of(n, digest);
    value_of(n, round, len, value);
    return mpx_cache_store(cache, &ticket, digest, labels, value, len, APR_INT64_MAX, now);
}

static mpx_cache_found_e find(uint64_t n, apr_time_t now, unsigned char *value, apr_size_t *len)
{
    unsigned char digest[MPX_CACHE_DIGEST];
    int doubtful;

    digest_of(n, digest);
    return mpx_cache_find(cache, digest, now, value, len, &doubtful);
}

static int is_there(uint64_t n)
{
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;

    return find(n, T0, (unsigned char *)value, &len) == MPX_CACHE_HIT;
}

START_TEST(values_of_every_length_are_found_whole)
{
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len, found;

    for (len = 16; len <= MPX_CACHE_VALUE_MAX; len += len < 1100 ? 7 : 501) {
        ck_assert(store(7, len, len, T0));
        ck_assert_int_eq(find(7, T0, (unsigned char *)value, &found), MPX_CACHE_HIT);
        ck_assert_uint_eq(found, len);
        ck_assert(value_is_whole(7, (unsigned char *)value, found));
    }
    ck_assert(!store(8, 0, MPX_CACHE_VALUE_MAX + 1, T0));
    ck_assert(!is_there(8));
    /* the last one stored counts, in whichever table it lies */
    ck_assert(store(7, 99, 20, T0));
    find(7, T0, (unsigned char *)value, &found);
    ck_assert_uint_eq(found, 20);
    ck_assert_uint_eq(mpx_cache_drop(cache, 0, 8), 1);
    ck_assert(!is_there(7));
}
END_TEST

START_TEST(dropping_by_either_label)
{
    for (uint64_t n = 0; n < 100; n++) {
        ck_assert(store(n, 0, 40, T0));
    }
    ck_assert_uint_eq(mpx_cache_drop(cache, 0, 5 + 1), 1);
    ck_assert(!is_there(5));
    ck_assert_uint_eq(mpx_cache_drop(cache, 1, 3 + 1), 10);
    for (uint64_t n = 0; n < 100; n++) {
        ck_assert_int_eq(is_there(n), n != 5 && n % 10 != 3);
    }
}
END_TEST

START_TEST(what_was_read_before_a_drop_is_not_stored_after_it)
{
    unsigned char digest[MPX_CACHE_DIGEST];
    apr_uint64_t labels[2] = { 1, 2 };
    mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);

    digest_of(1, digest);
    mpx_cache_drop(cache, 0, 77); /* of another: nothing is known about which rows the reader saw */
    ck_assert(!mpx_cache_store(cache, &ticket, digest, labels, "x", 1, APR_INT64_MAX, T0));
    ticket = mpx_cache_ticket(cache);
    ck_assert(mpx_cache_store(cache, &ticket, digest, labels, "x", 1, APR_INT64_MAX, T0));
}
END_TEST

START_TEST(doubt_marks_what_there_was)
{
    unsigned char digest[MPX_CACHE_DIGEST];
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;
    int doubtful;

    digest_of(3, digest);
    ck_assert(store(3, 0, 30, T0));
    ck_assert_int_eq(mpx_cache_find(cache, digest, T0, value, &len, &doubtful), MPX_CACHE_HIT);
    ck_assert(!doubtful);
    mpx_cache_doubt(cache);
    ck_assert_int_eq(mpx_cache_find(cache, digest, T0, value, &len, &doubtful), MPX_CACHE_HIT);
    ck_assert(doubtful);
    ck_assert(store(3, 0, 30, T0));
    mpx_cache_find(cache, digest, T0, value, &len, &doubtful);
    ck_assert(!doubtful);
}
END_TEST

START_TEST(absent_digests_expire_and_evict_nothing)
{
    unsigned char digest[MPX_CACHE_DIGEST];
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;
    int doubtful;

    for (uint64_t n = 0; n < 1000; n++) {
        ck_assert(store(n, 0, 100, T0));
    }
    for (uint64_t n = 1000; n < 200000; n++) {
        digest_of(n, digest);
        mpx_cache_store_absent(cache, digest, T0 + 5 * SECOND, T0);
    }
    ck_assert_int_eq(mpx_cache_find(cache, digest, T0 + SECOND, value, &len, &doubtful), MPX_CACHE_ABSENT);
    ck_assert_int_eq(mpx_cache_find(cache, digest, T0 + 5 * SECOND, value, &len, &doubtful), MPX_CACHE_MISS);
    for (uint64_t n = 0; n < 1000; n++) {
        ck_assert(is_there(n));
    }
}
END_TEST

START_TEST(three_quarters_full_evicts_next_to_nothing)
{
    mpx_cache_stats_t stats;
    uint64_t n, target;

    mpx_cache_stats(cache, &stats);
    target = SIZE / 100 * 62 / (256 + 48) * 3 / 4; /* of the small table */
    for (n = 0; n < target; n++) {
        ck_assert(store(n, 0, 100, T0 + (apr_time_t)n));
    }
    mpx_cache_stats(cache, &stats);
    ck_assert_uint_le(stats.evicted, target / 1000);
    ck_assert_uint_ge(stats.entries, target - target / 1000);
}
END_TEST

START_TEST(the_one_used_longest_ago_gives_way)
{
    uint64_t n, kept = 0, hot = 200;

    /* many times what fits; the first 200 are asked for again and again */
    for (n = 0; n < 100000; n++) {
        apr_time_t now = T0 + (apr_time_t)n * 1000;
        uint64_t value[MPX_CACHE_VALUE_MAX / 8];
        apr_size_t len;
        ck_assert(store(n, 0, 100, now));
        if (n > hot && n % 20 == 0) {
            for (uint64_t h = 0; h < hot; h += 10) {
                find((h + n / 20) % hot, now + 2 * SECOND, (unsigned char *)value, &len);
            }
        }
    }
    for (n = 0; n < hot; n++) {
        kept += (uint64_t)is_there(n);
    }
    ck_assert_uint_ge(kept, hot * 95 / 100);
}
END_TEST

START_TEST(capacity_of_half_of_128_megabytes)
{
    apr_size_t size = 62u << 20;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mpx_cache_stats_t stats;

    cache = mpx_cache_format(memory, size);
    for (uint64_t n = 0; n < 100000; n++) {
        ck_assert(store(n, 0, 190, T0 + (apr_time_t)n));
    }
    mpx_cache_stats(cache, &stats);
    ck_assert_uint_eq(stats.evicted, 0);
    ck_assert_uint_eq(stats.entries, 100000);
    munmap(memory, size);
}
END_TEST

START_TEST(one_loads_and_a_dead_loader_is_replaced)
{
    unsigned char digest[MPX_CACHE_DIGEST];

    digest_of(1, digest);
    ck_assert(mpx_cache_claim(cache, digest, T0));
    ck_assert(!mpx_cache_claim(cache, digest, T0 + SECOND / 2));
    ck_assert(mpx_cache_claim(cache, digest, T0 + SECOND + SECOND / 10));
    mpx_cache_release(cache, digest);
    ck_assert(mpx_cache_claim(cache, digest, T0 + SECOND + SECOND / 10));
}
END_TEST

/* Whatever millisecond it begins at, and whatever later one somebody else comes. */
START_TEST(a_claim_holds_for_its_second)
{
    for (int begin = 0; begin < 4096; begin++) {
        apr_time_t at = T0 + begin * (SECOND / 1000);
        unsigned char digest[MPX_CACHE_DIGEST];

        digest_of((uint64_t)begin, digest);
        ck_assert(mpx_cache_claim(cache, digest, at));
        for (int later = 1; later < 1000; later += later < 40 ? 1 : 37) {
            ck_assert_msg(!mpx_cache_claim(cache, digest, at + later * (SECOND / 1000)), "%d ms and %d ms later", begin,
                          later);
        }
        mpx_cache_release(cache, digest);
    }
}
END_TEST

static int collect(const mpx_cache_use_t *use, const void *value, apr_size_t len, void *baton)
{
    ++*(int *)baton;
    mpx_cache_used_settle(cache, use);
    return 1;
}

static int uses(apr_time_t now)
{
    int n = 0;
    mpx_cache_used_walk(cache, now, 30 * SECOND, collect, &n);
    return n;
}

START_TEST(uses_are_written_down_at_once_and_then_now_and_again)
{
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;

    ck_assert(store(1, 0, 30, T0));
    ck_assert(store(2, 0, 300, T0));
    ck_assert_int_eq(uses(T0 + SECOND), 2);
    ck_assert_int_eq(uses(T0 + SECOND), 0);
    find(1, T0 + 5 * SECOND, (unsigned char *)value, &len);
    ck_assert_int_eq(uses(T0 + 6 * SECOND), 0);
    ck_assert_int_eq(uses(T0 + 31 * SECOND), 1);
    ck_assert_int_eq(uses(T0 + 99 * SECOND), 0);
}
END_TEST

/* --- Many at once --------------------------------------------------------------------------------------------------------- */

typedef struct worker {
    unsigned seed;
    long rounds;
    long wrong, hits;
} worker_t;

/* A few digests, so that every slot is fought over; values of all three sizes. */
static void *work(void *data)
{
    worker_t *w = data;
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;

    for (long i = 0; i < w->rounds; i++) {
        uint64_t n = (uint64_t)rand_r(&w->seed) % 40;
        apr_time_t now = T0 + i;
        switch (rand_r(&w->seed) % 8) {
        case 0:
            store(n, (uint64_t)i, 16 + (apr_size_t)(rand_r(&w->seed) % (rand_r(&w->seed) % 2 ? 180 : 2000)), now);
            break;
        case 1:
            if (rand_r(&w->seed) % 50 == 0) {
                mpx_cache_drop(cache, rand_r(&w->seed) % 2, n % 10 + 1);
            }
            break;
        default:
            if (find(n, now, (unsigned char *)value, &len) == MPX_CACHE_HIT) {
                w->hits++;
                w->wrong += !value_is_whole(n, (unsigned char *)value, len);
            }
        }
    }
    return NULL;
}

START_TEST(threads_never_see_half_a_value)
{
    pthread_t threads[4];
    worker_t workers[4];
    unsigned seed = (unsigned)tap_seed((unsigned long long)apr_time_now());

    for (int i = 0; i < 4; i++) {
        workers[i] = (worker_t){ seed + (unsigned)i, 100000, 0, 0 };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(workers[i].wrong, 0);
        ck_assert_int_gt(workers[i].hits, 100);
    }
}
END_TEST

START_TEST(killed_processes_leave_a_table_that_works)
{
    unsigned seed = (unsigned)tap_seed((unsigned long long)apr_time_now());
    worker_t after = { seed, 20000, 0, 0 };
    apr_time_t later = T0 + 10 * SECOND;

    for (int round = 0; round < 150; round++) {
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            worker_t w = { seed + (unsigned)round, 100000000, 0, 0 };
            work(&w);
            _exit(0);
        }
        for (volatile int spin = rand_r(&seed) % 400000; spin > 0; spin--) {
        }
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    }
    work(&after);
    ck_assert_int_eq(after.wrong, 0);
    /* a second later whatever they were writing is free again */
    for (uint64_t n = 0; n < 40; n++) {
        uint64_t value[MPX_CACHE_VALUE_MAX / 8];
        apr_size_t len;
        ck_assert(store(n, 1, 50, later));
        ck_assert_int_eq(find(n, later, (unsigned char *)value, &len), MPX_CACHE_HIT);
        ck_assert(value_is_whole(n, (unsigned char *)value, len));
    }
}
END_TEST

/* One "database row": a version. Loaders read it and store; the dropper changes it, then drops. After a drop nobody may ever
 * find a version from before it. */
static uint64_t row, dropped;
static int stop;

static void *load_rows(void *data)
{
    unsigned char digest[MPX_CACHE_DIGEST];
    apr_uint64_t labels[2] = { 1, 2 };
    uint64_t value[MPX_CACHE_VALUE_MAX / 8];
    apr_size_t len;
    long *wrong = data;
    int doubtful;

    digest_of(0, digest);
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        uint64_t floor = __atomic_load_n(&dropped, __ATOMIC_ACQUIRE), version;
        if (mpx_cache_find(cache, digest, T0, value, &len, &doubtful) == MPX_CACHE_HIT) {
            *wrong += value[0] < floor;
        }
        else {
            mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);
            version = __atomic_load_n(&row, __ATOMIC_ACQUIRE);
            mpx_cache_store(cache, &ticket, digest, labels, &version, sizeof version, APR_INT64_MAX, T0);
        }
    }
    return NULL;
}

START_TEST(a_drop_is_final)
{
    pthread_t threads[3];
    long wrong[3] = { 0, 0, 0 };

    row = dropped = 0;
    stop = 0;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load_rows, &wrong[i]), 0);
    }
    for (uint64_t version = 1; version <= 3000; version++) {
        __atomic_store_n(&row, version, __ATOMIC_RELEASE);
        mpx_cache_drop(cache, 0, 1);
        __atomic_store_n(&dropped, version, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(wrong[i], 0);
    }
}
END_TEST

typedef struct seen {
    unsigned char times[2000];
    int wrong;
} seen_t;

static void see(const unsigned char digest[MPX_CACHE_DIGEST], apr_time_t used, const void *value, apr_size_t len,
                void *baton)
{
    unsigned char expected[MPX_CACHE_DIGEST];
    seen_t *seen = baton;
    uint64_t n;

    memcpy(&n, value, 8);
    digest_of(n, expected);
    seen->wrong += n >= sizeof seen->times || memcmp(expected, digest, sizeof expected) != 0
        || !value_is_whole(n, value, len) || used != T0;
    if (n < sizeof seen->times) {
        seen->times[n]++;
    }
}

/* Going round in steps of any size shows each value of each size once, and begins anew behind the end. */
START_TEST(a_walk_in_steps_shows_each_once)
{
    static const apr_size_t lengths[] = { 100, 600, 5000 };
    const apr_uint64_t labels[MPX_CACHE_LABELS] = { 1, 2 };
    mpx_cache_ticket_t ticket = mpx_cache_ticket(cache);
    apr_uint64_t steps[] = { 1, 7, 1000, APR_UINT64_MAX }, all;
    unsigned char digest[MPX_CACHE_DIGEST], value[MPX_CACHE_VALUE_MAX];

    for (uint64_t n = 0; n < 60; n++) {
        digest_of(n, digest);
        ck_assert(mpx_cache_store(cache, &ticket, digest, labels, value, value_of(n, 0, lengths[n % 3], value),
                                  APR_INT64_MAX, T0));
    }
    for (int i = 0; i < 4; i++) {
        seen_t seen = { { 0 }, 0 };
        apr_uint64_t from = 0, walked = 0;

        do {
            all = mpx_cache_walk(cache, &from, steps[i], see, &seen);
            walked += steps[i];
            ck_assert(from != 0 || walked >= all);
        } while (from != 0);
        ck_assert_int_eq(seen.wrong, 0);
        for (int n = 0; n < 60; n++) {
            ck_assert_msg(seen.times[n] == 1, "value %d was shown %d times in steps of %lu", n, seen.times[n],
                          (unsigned long)steps[i]);
        }
        from = all + 5; /* of a greater cache that there was before */
        mpx_cache_walk(cache, &from, 1, see, &seen);
        ck_assert_uint_eq(from, 1);
    }
}
END_TEST

START_TEST(format_and_attach)
{
    static char small[4096] __attribute__((aligned(64)));

    ck_assert_ptr_null(mpx_cache_format(small, sizeof small));
    ck_assert_ptr_eq(mpx_cache_attach(block, SIZE), cache);
    ck_assert_ptr_null(mpx_cache_attach(block, SIZE / 2));
    ck_assert_ptr_null(mpx_cache_attach(small, sizeof small));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *tcase = tcase_create("cache");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, values_of_every_length_are_found_whole);
    tcase_add_test(tcase, dropping_by_either_label);
    tcase_add_test(tcase, what_was_read_before_a_drop_is_not_stored_after_it);
    tcase_add_test(tcase, doubt_marks_what_there_was);
    tcase_add_test(tcase, absent_digests_expire_and_evict_nothing);
    tcase_add_test(tcase, three_quarters_full_evicts_next_to_nothing);
    tcase_add_test(tcase, the_one_used_longest_ago_gives_way);
    tcase_add_test(tcase, capacity_of_half_of_128_megabytes);
    tcase_add_test(tcase, one_loads_and_a_dead_loader_is_replaced);
    tcase_add_test(tcase, a_claim_holds_for_its_second);
    tcase_add_test(tcase, uses_are_written_down_at_once_and_then_now_and_again);
    tcase_add_test(tcase, threads_never_see_half_a_value);
    tcase_add_test(tcase, killed_processes_leave_a_table_that_works);
    tcase_add_test(tcase, a_drop_is_final);
    tcase_add_test(tcase, a_walk_in_steps_shows_each_once);
    tcase_add_test(tcase, format_and_attach);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
