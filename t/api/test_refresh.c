/* Keys in use are asked for again in the background before MeterplexPrincipalTTL is over: no request waits for it, and
 * what the database says counts within the TTL even where nobody was notified.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS 30
#define TTL 10 /* seconds */

static void up(void)
{
    h_up("MeterplexPrincipalTTL 10s\n<Location /gate>\n    AuthType Meterplex\n    Require meterplex-scope "
         "demo:read\n</Location>\n");
}

static double metric(const char *series)
{
    const char *at = strstr(h_get("/metrics", NULL)->body, h_format("\n%s ", series));

    ck_assert_msg(at != NULL, "there is no %s", series);
    return atof(at + strlen(series) + 2);
}

static void use_all(const char *const *keys, double seconds)
{
    for (long long end = h_now_ms() + (long long)(1000 * seconds); h_now_ms() < end;) {
        for (int i = 0; i < KEYS; i++) {
            h_expect(h_get("/gate/x", keys[i]), 404);
        }
    }
}

static int refused(const char *key)
{
    return h_get("/gate/x", key)->status == 401;
}

START_TEST(keys_in_use_are_refreshed)
{
    static const char from_database[] = "meterplex_principal_lookups_total{result=\"database\"}";
    const char *keys[KEYS], *id = NULL;
    double before;

    for (int i = 0; i < KEYS; i++) { /* of three tenants */
        static const char *tenant;
        tenant = i % 10 ? tenant : h_tenant(h_format("refresh-%d", i));
        keys[i] = h_key(
            tenant, "demo:read",
            i % 2 ? "\"allowed_cidrs\":[\"127.0.0.0/8\"],\"rate_limit\":{\"rate\":1000,\"per\":\"second\"}" : NULL, &id);
        h_expect(h_get("/gate/x", keys[i]), 404);
    }
    use_all(keys, 2); /* what was remembered before the node began to listen is looked up once more */
    before = metric(from_database);
    use_all(keys, 2.5 * TTL);
    /* 30 keys, two and a half times: 75 without the refresh */
    ck_assert_msg(metric(from_database) - before <= 3, "%g look-ups by requests", metric(from_database) - before);
    ck_assert(metric("meterplex_principals_refreshed_total") >= 2 * KEYS);

    /* changed behind our back, as a restored or hand-mended database would be */
    h_sql("UPDATE identity.api_keys SET revoked_at = now() WHERE id = (SELECT key_id FROM identity.api_key_secrets ORDER BY "
          "created_at DESC LIMIT 1)");
    H_WAIT(TTL + 1, refused(keys[KEYS - 1]));
    h_expect(h_get("/gate/x", keys[0]), 404);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("refresh");
    TCase *tcase = tcase_create("refresh");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, keys_in_use_are_refreshed);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
