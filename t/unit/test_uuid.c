/* mpx_uuid: UUIDv7 and TypeID, with the published vectors of the TypeID specification 0.3. */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "mpx_uuid.h"
#include "tap.h"

static apr_pool_t *pool;

static const struct {
    const char *typeid, *prefix, *uuid;
} valid[] = {
    { "00000000000000000000000000", "", "00000000-0000-0000-0000-000000000000" },
    { "00000000000000000000000001", "", "00000000-0000-0000-0000-000000000001" },
    { "0000000000000000000000000a", "", "00000000-0000-0000-0000-00000000000a" },
    { "0000000000000000000000000g", "", "00000000-0000-0000-0000-000000000010" },
    { "00000000000000000000000010", "", "00000000-0000-0000-0000-000000000020" },
    { "7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "ffffffff-ffff-ffff-ffff-ffffffffffff" },
    { "prefix_0123456789abcdefghjkmnpqrs", "prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19" },
    { "prefix_01h455vb4pex5vsknk084sn02q", "prefix", "01890a5d-ac96-774b-bcce-b302099a8057" },
    { "pre_fix_00000000000000000000000000", "pre_fix", "00000000-0000-0000-0000-000000000000" },
};

static const char *const invalid[] = {
    "PREFIX_00000000000000000000000000",
    "12345_00000000000000000000000000",
    "pre.fix_00000000000000000000000000",
    "pr\303\251fix_00000000000000000000000000",
    "  prefix_00000000000000000000000000",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl_00000000000000000000000000",
    "_00000000000000000000000000",
    "_",
    "prefix_1234567890123456789012345",
    "prefix_123456789012345678901234567",
    "prefix_1234567890123456789012345 ",
    "prefix_0123456789ABCDEFGHJKMNPQRS",
    "prefix_123456789-123456789-123456",
    "prefix_ooooooiiiiiiuuuuuuulllllll",
    "prefix_i23456789ol23456789oi23456",
    "prefix_123456789-0123456789-0123456",
    "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "_prefix_00000000000000000000000000",
    "prefix__00000000000000000000000000",
    "",
    "prefix_",
};

START_TEST(published_vectors)
{
    char text[MPX_UUID_TEXT];
    mpx_uuid_t id;

    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        ck_assert_msg(mpx_typeid_parse(valid[i].typeid, NULL, &id), "%s", valid[i].typeid);
        ck_assert_str_eq(mpx_uuid_format(&id, text), valid[i].uuid);
        ck_assert_str_eq(mpx_typeid_format(pool, valid[i].prefix, &id), valid[i].typeid);
        ck_assert(mpx_typeid_parse(valid[i].typeid, valid[i].prefix, &id));
        ck_assert(!mpx_typeid_parse(valid[i].typeid, "other", &id));
    }
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        ck_assert_msg(!mpx_typeid_parse(invalid[i], NULL, &id), "%s", invalid[i]);
    }
}
END_TEST

START_TEST(version_7_carries_the_time)
{
    /* RFC 9562 appendix A.6: 2022-02-22T19:22:22Z is 017F22E2-79B0-7... */
    static const unsigned char random[8] = { 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f };
    char text[MPX_UUID_TEXT];
    mpx_uuid_t a, b;

    mpx_uuid_v7(&a, APR_INT64_C(1645557742000000), random);
    ck_assert_str_eq(mpx_uuid_format(&a, text), "017f22e2-79b0-7000-98c4-dc0c0c07398f");
    mpx_uuid_v7(&b, APR_INT64_C(1645557742000001), random);
    ck_assert_int_lt(memcmp(&a, &b, sizeof a), 0);
    mpx_uuid_v7(&a, APR_INT64_C(1645557742000500), random); /* half of a millisecond is half of 12 bits */
    ck_assert_str_eq(mpx_uuid_format(&a, text), "017f22e2-79b0-7800-98c4-dc0c0c07398f");
    mpx_uuid_v7(&a, APR_INT64_C(1645557742000999), random);
    ck_assert_str_eq(mpx_uuid_format(&a, text), "017f22e2-79b0-7ffb-98c4-dc0c0c07398f");
    ck_assert_int_lt(memcmp(&b, &a, sizeof a), 0);
    ck_assert(!mpx_uuid_parse("017f22e2-79b0-7000-98c4-dc0c0c07398", &a));
    ck_assert(!mpx_uuid_parse("017f22e2-79b0-7000-98c4-dc0c0c07398g", &a));
    mpx_uuid_v7(&b, APR_INT64_C(1645557742000000), random);
    mpx_uuid_format(&b, text);
    ck_assert(mpx_uuid_parse("017F22E2-79B0-7000-98C4-DC0C0C07398F", &a) && mpx_uuid_parse(text, &b)
              && mpx_uuid_equal(&a, &b));
}
END_TEST

/* The suffix as a number in base 32, divided out of the 128 bits digit by digit; the reader and the writer
 * shift bits. */
static void slow_suffix(const mpx_uuid_t *id, char out[27])
{
    unsigned char number[16];

    memcpy(number, id->b, 16);
    out[26] = '\0';
    for (int digit = 25; digit >= 0; digit--) {
        unsigned rest = 0;
        for (int i = 0; i < 16; i++) {
            unsigned value = rest << 8 | number[i];
            number[i] = (unsigned char)(value / 32);
            rest = value % 32;
        }
        out[digit] = "0123456789abcdefghjkmnpqrstvwxyz"[rest];
    }
}

START_TEST(any_id_comes_back)
{
    srandom((unsigned)tap_seed(20261120));
    for (int round = 0; round < 5000; round++) {
        char suffix[27], text[MPX_UUID_TEXT], prefix[MPX_TYPEID_PREFIX_MAX + 1], *typeid;
        size_t n = (size_t)random() % (MPX_TYPEID_PREFIX_MAX + 1);
        mpx_uuid_t id, back, before;

        for (int i = 0; i < 16; i++) {
            id.b[i] = (unsigned char)random();
        }
        for (size_t i = 0; i < n; i++) {
            prefix[i] = i && i + 1 < n && random() % 8 == 0 ? '_' : (char)('a' + random() % 26);
        }
        prefix[n] = '\0';
        typeid = mpx_typeid_format(pool, prefix, &id);
        slow_suffix(&id, suffix);
        ck_assert_uint_lt(strlen(typeid), MPX_TYPEID_TEXT);
        ck_assert_str_eq(typeid + strlen(typeid) - 26, suffix);
        ck_assert(mpx_typeid_parse(typeid, prefix, &back) && mpx_uuid_equal(&back, &id));
        ck_assert(mpx_uuid_parse(mpx_uuid_format(&id, text), &back) && mpx_uuid_equal(&back, &id));
        /* one character that does not belong, anywhere: refused, and the answer is left alone */
        before = back;
        typeid[(size_t)random() % strlen(typeid)] = "ILOU-A!\x80 "[random() % 9];
        ck_assert_msg(!mpx_typeid_parse(typeid, NULL, &back), "%s", typeid);
        text[random() % 36] = "g_/: \x80G"[random() % 7];
        ck_assert_msg(!mpx_uuid_parse(text, &back), "%s", text);
        ck_assert_mem_eq(&back, &before, sizeof back);
        apr_pool_clear(pool);
    }
}
END_TEST

START_TEST(ids_sort_by_time)
{
    mpx_uuid_t last, id;
    apr_time_t now = APR_INT64_C(1763676000000000);

    memset(&last, 0, sizeof last);
    srandom((unsigned)tap_seed(20261120));
    for (int i = 0; i < 20000; i++) {
        unsigned char bytes[8];
        for (int k = 0; k < 8; k++) {
            bytes[k] = (unsigned char)random();
        }
        now += 1 + (i % 3 ? 0 : random() % 5000);
        mpx_uuid_v7(&id, now, bytes);
        ck_assert_int_lt(memcmp(&last, &id, sizeof id), 0);
        ck_assert(id.b[6] >> 4 == 7 && id.b[8] >> 6 == 2);
        ck_assert_mem_eq(id.b + 9, bytes + 1, 7);
        last = id;
    }
    memset(&id, 0, sizeof id);
    ck_assert(mpx_uuid_is_nil(&id) && !mpx_uuid_is_nil(&last));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uuid");
    TCase *tcase = tcase_create("uuid");

    apr_initialize();
    apr_pool_create(&pool, NULL);
    tcase_add_test(tcase, published_vectors);
    tcase_add_test(tcase, version_7_carries_the_time);
    tcase_add_test(tcase, any_id_comes_back);
    tcase_add_test(tcase, ids_sort_by_time);
    suite_add_tcase(suite, tcase);
    return tap_run(suite);
}
