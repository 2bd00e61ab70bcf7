/* ctl_doctor.h: what the files of `meterplexctl doctor` ask of each other. */
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include "ctl.h"

typedef enum finding {
    FOUND_OK,
    FOUND_ADVICE, /* works, and could be better: does not change the exit status */
    FOUND_WRONG
} finding_e;

typedef struct doctor {
    ctl_t *ctl;
    const char *httpd;      /* program */
    const char *conf;       /* its configuration file, or NULL: its own */
    const char *modules;    /* directory of Meterplex's modules */
    const char *migrations; /* directory */
    mpx_jsonw_t *json;      /* NULL: text */
    int wrong;              /* how many */
} doctor_t;

/* One line of the report. @param format what was found; of what is not ok also what to do */
void doctor_say(doctor_t *d, finding_e finding, const char *check, const char *format, ...) MPX_PRINTF(4, 5);

void doctor_httpd(doctor_t *d);    /* ctl_doctor_httpd.c: program and modules */
/* ctl_doctor_db.c. @return 1 when it is there, with the schema as it should be */
int doctor_database(doctor_t *d);

#endif
