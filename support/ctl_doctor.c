/* ctl_doctor.c: `meterplexctl doctor`: looks at an installation and says what to do. Changes nothing. */
#include "ctl_doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <apr_strings.h>

#include "../mod_meterplex/core/core_state.h"

static const char *const finding_names[] = { "ok", "advice", "wrong" };

void doctor_say(doctor_t *d, finding_e finding, const char *check, const char *format, ...)
{
    va_list arguments;
    const char *detail;

    va_start(arguments, format);
    detail = apr_pvsprintf(d->ctl->pool, format, arguments);
    va_end(arguments);
    d->wrong += finding == FOUND_WRONG;
    if (d->json) {
        mpx_jsonw_object(d->json);
        mpx_jsonw_member_string(d->json, "check", check);
        mpx_jsonw_member_string(d->json, "finding", finding_names[finding]);
        mpx_jsonw_member_string(d->json, "detail", detail);
        mpx_jsonw_end(d->json);
    }
    else {
        printf("%-7s %-16s %s\n", finding_names[finding], check, detail);
    }
}

/* @param comparable  the database can be asked which root keys are the installation's */
static void check_key_file(doctor_t *d, int comparable)
{
    const char *path = d->ctl->key_file, *wrong;
    mpx_rootkey_standing_e standing;
    mpx_call_t call;

    if (path == NULL || *path == '\0') {
        doctor_say(d, FOUND_WRONG, "key file",
                   "not named: give --key-file FILE or METERPLEX_KEY_FILE, as MeterplexKeyFile has it");
        return;
    }
    wrong = ctl_keyfile_wrong(d->ctl);
    if (wrong) {
        doctor_say(d, FOUND_WRONG, "key file", "%s: %s", path, wrong);
        return;
    }
    if (!comparable) { /* what is wrong with the database has been said */
        doctor_say(d, FOUND_OK, "key file", "%s; whether it is this installation's cannot be seen", path);
        return;
    }
    ctl_call(d->ctl, &call, d->ctl->pool, NULL);
    if (mpx_rootkey_standing(&call, &standing) != APR_SUCCESS) {
        doctor_say(d, FOUND_WRONG, "key file", "%s: whether it is this installation's cannot be seen: %s", path,
                   call.problem.detail ? call.problem.detail : "the database did not answer");
    }
    else if (standing == MPX_ROOTKEY_STRANGE) {
        doctor_say(d, FOUND_WRONG, "key file",
                   "%s is not a root key of this installation: name the file that was made for it, here and in "
                   "MeterplexKeyFile; httpd knows no API key with another",
                   path);
    }
    else {
        doctor_say(d, FOUND_OK, "key file", "%s%s", path,
                   standing == MPX_ROOTKEY_NEW ? "; httpd records it when it runs: no root key is recorded yet" : "");
    }
}

static void check_state_dir(doctor_t *d)
{
    const char *path = d->ctl->state_dir, *wrong;

    if (path == NULL || *path == '\0') {
        doctor_say(d, FOUND_WRONG, "state directory",
                   "not named: give --state-dir DIR or METERPLEX_STATE_DIR, as MeterplexStateDir has it");
    }
    else if ((wrong = core_state_wrong(d->ctl->pool, path)) != NULL) {
        doctor_say(d, FOUND_WRONG, "state directory", "%s: %s", path, wrong);
    }
    else {
        doctor_say(d, FOUND_OK, "state directory", "%s", path);
    }
}

int ctl_doctor(ctl_t *ctl, int argc, const char *const *argv)
{
    doctor_t d = { .ctl = ctl, .httpd = CTL_HTTPD, .modules = CTL_MODULEDIR, .migrations = ctl_migrations_dir() };
    const ctl_option_t options[] = {
        { "httpd", CTL_TEXT, &d.httpd },
        { "conf", CTL_TEXT, &d.conf },
        { "modules", CTL_TEXT, &d.modules },
        { "dir", CTL_TEXT, &d.migrations },
        { NULL, CTL_FLAG, NULL },
    };
    int rv;

    d.conf = getenv("METERPLEX_HTTPD_CONF");
    rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);
    if (rv != CTL_OK) {
        return rv;
    }
    if (ctl->json) {
        d.json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_object(d.json);
        mpx_jsonw_key(d.json, "checks");
        mpx_jsonw_array(d.json);
    }
    doctor_httpd(&d);
    check_state_dir(&d);
    check_key_file(&d, doctor_database(&d));
    if (d.json) {
        mpx_jsonw_end(d.json);
        mpx_jsonw_member_int(d.json, "wrong", d.wrong);
        mpx_jsonw_end(d.json);
        ctl_print_json(d.json);
    }
    else if (d.wrong) {
        printf("%d thing%s to put right\n", d.wrong, d.wrong == 1 ? "" : "s");
    }
    return d.wrong ? CTL_FAILED : CTL_OK;
}
