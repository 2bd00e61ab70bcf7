/* mpx_counters: what was added is flushed once, whoever dies when. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <errno.h>
#include <unistd.h>

#include <apr_general.h>
#include <sodium.h>

#include "mpx_counters.h"
#include "tap.h"

#define NOW APR_INT64_C(1790000000000000)
#define MINUTE APR_INT64_C(60000000)

static apr_pool_t *pool;
static const unsigned char secret[MPX_COUNTERS_SECRET] = "another secret!";
static const mpx_uuid_t id = { { 1 } }, tenant = { { 7 } };

static mpx_counters_t *fresh(size_t cells)
{
    size_t size = 4096 + cells * 1024;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    return mpx_counters_format(memory, size, &id, secret);
}

static const char *wrong_with(mpx_counters_t *c, size_t cells)
{
    const char *wrong = NULL;
    return mpx_counters_attach(c, 4096 + cells * 1024, &wrong) ? NULL : wrong;
}

static int lives(int pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

static apr_array_header_t *announce(mpx_counters_t *c)
{
    apr_array_header_t *ranges = apr_array_make(pool, 16, sizeof(mpx_counter_range_t));
    mpx_counters_announce(c, 1000000, ranges);
    return ranges;
}

static apr_uint64_t sum(const apr_array_header_t *ranges)
{
    apr_uint64_t n = 0;
    for (int i = 0; i < ranges->nelts; i++) {
        n += APR_ARRAY_IDX(ranges, i, mpx_counter_range_t).n;
    }
    return n;
}

static void settle(mpx_counters_t *c, const apr_array_header_t *ranges)
{
    for (int i = 0; i < ranges->nelts; i++) {
        mpx_counters_settle(c, &APR_ARRAY_IDX(ranges, i, mpx_counter_range_t));
    }
}

START_TEST(a_range_not_settled_comes_again_unchanged)
{
    mpx_counters_t *c = fresh(128);
    apr_array_header_t *first, *again;
    const mpx_counter_range_t *a, *b;

    for (int i = 0; i < 5; i++) {
        ck_assert(mpx_counters_add(c, &tenant, NOW + i, 1, "x", 1, 1));
    }
    first = announce(c);
    ck_assert_int_eq(first->nelts, 1);
    for (int i = 0; i < 3; i++) {
        mpx_counters_add(c, &tenant, NOW + 10 + i, 1, "x", 1, 1);
    }
    again = announce(c);
    a = &APR_ARRAY_IDX(first, 0, mpx_counter_range_t);
    b = &APR_ARRAY_IDX(again, 0, mpx_counter_range_t);
    ck_assert(a->use == b->use && a->upto == b->upto && a->n == 5 && b->n == 5 && a->time == b->time);
    settle(c, again);
    again = announce(c);
    b = &APR_ARRAY_IDX(again, 0, mpx_counter_range_t);
    ck_assert(b->n == 3 && b->upto != a->upto && b->time == NOW + 12);
    settle(c, first); /* a late settling of an older range changes nothing */
    ck_assert_int_eq(announce(c)->nelts, 1);
    settle(c, again);
    ck_assert_int_eq(announce(c)->nelts, 0);
}
END_TEST

START_TEST(minutes_and_records_are_apart_and_cells_are_used_again)
{
    mpx_counters_t *c = fresh(64);
    mpx_counters_stat_t stat;
    apr_array_header_t *ranges;

    for (int minute = 0; minute < 100; minute++) {
        apr_time_t now = NOW / MINUTE * MINUTE + minute * MINUTE;
        for (int k = 0; k < 10; k++) {
            ck_assert_msg(mpx_counters_add(c, &tenant, now, 1, &k, sizeof k, 1), "full in minute %d", minute);
            ck_assert(mpx_counters_add(c, &tenant, now + MINUTE - 1, 1, &k, sizeof k, 1));
        }
        ranges = announce(c);
        ck_assert_int_eq(ranges->nelts, 10);
        ck_assert(sum(ranges) == 20);
        settle(c, ranges);
        mpx_counters_release(c, now + 2 * MINUTE, lives);
    }
    mpx_counters_stat(c, &stat);
    ck_assert(stat.used == 0 && stat.pending == 0 && stat.capacity == 64);
}
END_TEST

START_TEST(full_is_said_and_nothing_is_lost)
{
    mpx_counters_t *c = fresh(64);
    int taken = 0;

    for (int k = 0; k < 200; k++) {
        taken += mpx_counters_add(c, &tenant, NOW, 1, &k, sizeof k, 1);
    }
    ck_assert_int_eq(taken, 64);
    ck_assert(sum(announce(c)) == 64);
    ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, secret, MPX_COUNTERS_PAYLOAD_MAX + 1, 1), 0);
}
END_TEST

/* Nine tenths of a file can be had, whatever the records are. */
START_TEST(there_is_room_up_to_nine_tenths)
{
    mpx_counters_t *c = fresh(8192);

    for (int k = 0; k < 8192 / 10 * 9; k++) {
        ck_assert_msg(mpx_counters_add(c, &tenant, NOW, 1, &k, sizeof k, 1) == 1, "record %d", k);
    }
    for (int k = 0; k < 8192 / 10 * 9; k++) {
        ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, &k, sizeof k, 1), 1);
    }
    ck_assert_int_eq(announce(c)->nelts, 8192 / 10 * 9);
}
END_TEST

/* Where many different records come, a cell whose count is settled is free at once, and one whose count is not stays. */
START_TEST(many_records_of_a_minute_leave_room_for_others)
{
    mpx_counters_t *c = fresh(256);
    apr_uint64_t flushed = 0;
    int k = 0, last = -1;

    for (int round = 0; round < 50; round++) {
        apr_array_header_t *ranges;
        for (int i = 0; i < 150; i++, k++) {
            ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, &k, sizeof k, 1), 1);
        }
        ranges = announce(c);
        ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, &last, sizeof last, 1), 1); /* after the announcement */
        settle(c, ranges);
        flushed += sum(ranges);
        mpx_counters_release(c, NOW, lives);
    }
    flushed += sum(announce(c));
    ck_assert_uint_eq(flushed, 50 * 151);
}
END_TEST

/* What the database would hold: names of ranges, each once. */
static struct {
    apr_uint64_t use, upto;
} names[100000];
static int nnames;
static apr_uint64_t stored;

static void commit(const apr_array_header_t *ranges)
{
    for (int i = 0; i < ranges->nelts; i++) {
        const mpx_counter_range_t *r = &APR_ARRAY_IDX(ranges, i, mpx_counter_range_t);
        int k;
        for (k = nnames - 1; k >= 0 && (names[k].use != r->use || names[k].upto != r->upto); k--) {
        }
        if (k < 0) {
            ck_assert_int_lt(nnames, 100000);
            names[nnames].use = r->use;
            names[nnames++].upto = r->upto;
            stored += r->n;
        }
    }
}

static void add_for_ever(mpx_counters_t *c, apr_uint64_t *begun, apr_uint64_t *returned)
{
    for (apr_uint64_t i = 0;; i++) {
        int k = (int)(i % 40);
        __atomic_fetch_add(begun, 1, __ATOMIC_RELAXED);
        if (mpx_counters_add(c, &tenant, NOW + (apr_time_t)(i / 2000) * MINUTE, (int)getpid(), &k, sizeof k, 1)) {
            __atomic_fetch_add(returned, 1, __ATOMIC_RELAXED);
        }
        else {
            __atomic_fetch_sub(begun, 1, __ATOMIC_RELAXED);
        }
    }
}

/* Adders in three processes that are killed in turn, and a flusher that "crashes" between the commit and the settling. */
START_TEST(sums_agree_whoever_dies)
{
    mpx_counters_t *c = fresh(256);
    apr_uint64_t *added = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[3] = { 0, 0, 0 };

    srandom((unsigned)tap_seed(42));
    for (int round = 0; round < 60; round++) {
        int victim = round % 3;
        apr_array_header_t *ranges;
        if (pids[victim]) {
            kill(pids[victim], SIGKILL);
            waitpid(pids[victim], NULL, 0);
        }
        pids[victim] = fork();
        if (pids[victim] == 0) {
            add_for_ever(c, &added[0], &added[1]);
        }
        for (apr_uint64_t aim = added[1] + 200; __atomic_load_n(&added[1], __ATOMIC_RELAXED) < aim && round < 3;) {
        }
        ranges = announce(c);
        commit(ranges);
        for (int i = 0; i < 20; i++) { /* a reload looks at it while it is in use, and finds nothing amiss */
            ck_assert_msg(wrong_with(c, 256) == NULL, "%s", wrong_with(c, 256));
        }
        for (int i = 0; i < ranges->nelts; i++) {
            if (random() % 3) {
                mpx_counters_settle(c, &APR_ARRAY_IDX(ranges, i, mpx_counter_range_t));
            }
        }
        mpx_counters_release(c, NOW + 1000 * MINUTE, lives);
        apr_pool_clear(pool);
    }
    for (int i = 0; i < 3; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    for (int i = 0; i < 2; i++) { /* what was open, then what came after it */
        apr_array_header_t *ranges = announce(c);
        commit(ranges);
        settle(c, ranges);
    }
    /* every addition that returned is stored; of those that were killed on the way, one a process, any part */
    ck_assert_msg(stored >= added[1] && stored <= added[0], "%llu stored, %llu returned, %llu begun",
                  (unsigned long long)stored, (unsigned long long)added[1], (unsigned long long)added[0]);
    ck_assert_msg(added[0] - added[1] <= 63, "%llu killed on the way", (unsigned long long)(added[0] - added[1]));
    ck_assert(stored > 500);
}
END_TEST

/* A file is taken up only as somebody has left it who knew its secret: any byte of a record tells. */
START_TEST(damage_is_found)
{
    mpx_counters_t *c = fresh(64);
    unsigned char *cells = (unsigned char *)c + 4096, *cell = NULL;
    static const struct {
        size_t at, len;
    } parts[] = { { 8, 8 } /* print */, { 64, 8 } /* minute */, { 72, 16 } /* tenant */, { 88, 8 } /* len */, { 96, 6 } };

    ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, "record", 6, 3), 1);
    settle(c, announce(c));
    ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, "record", 6, 2), 1);
    ck_assert_ptr_null(wrong_with(c, 64));
    for (size_t i = 0; i < 64; i++) {
        cell = cells[i * 1024] ? cells + i * 1024 : cell;
    }
    ck_assert_ptr_nonnull(cell);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (size_t k = 0; k < parts[i].len; k++) {
            cell[parts[i].at + k] ^= 0x10;
            ck_assert_msg(wrong_with(c, 64) != NULL, "byte %zu", parts[i].at + k);
            cell[parts[i].at + k] ^= 0x10;
        }
    }
    cell[32] = 6; /* more settled than was announced, */
    ck_assert_str_eq(wrong_with(c, 64), "a record in it is damaged");
    cell[24] = 6; /* and than was counted */
    ck_assert_ptr_nonnull(wrong_with(c, 64));
    cell[24] = cell[32] = 3;
    ck_assert_ptr_null(wrong_with(c, 64));
    /* a use that the file's head does not know of, as after a power loss: what comes next is not numbered like it */
    cell[56] = 200;
    ck_assert_ptr_null(wrong_with(c, 64));
    ck_assert_int_eq(mpx_counters_add(c, &tenant, NOW, 1, "other", 5, 1), 1);
    for (int i = 0, n = announce(c)->nelts; i < n; i++) {
        const mpx_counter_range_t *range = &APR_ARRAY_IDX(announce(c), i, mpx_counter_range_t);
        ck_assert_uint_eq(range->use, range->len == 5 ? 201 : 200);
    }
    cell[0] |= 3; /* no kind of cell */
    ck_assert_ptr_nonnull(wrong_with(c, 64));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("counters");
    TCase *tcase = tcase_create("counters");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (sodium_init() < 0) {
        return 1;
    }
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_range_not_settled_comes_again_unchanged);
    tcase_add_test(tcase, minutes_and_records_are_apart_and_cells_are_used_again);
    tcase_add_test(tcase, full_is_said_and_nothing_is_lost);
    tcase_add_test(tcase, there_is_room_up_to_nine_tenths);
    tcase_add_test(tcase, many_records_of_a_minute_leave_room_for_others);
    tcase_add_test(tcase, sums_agree_whoever_dies);
    tcase_add_test(tcase, damage_is_found);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
