//! CPU and input/output scheduling, and the out-of-memory score.

use hako_integration::{Runtime, Value, each, json};

#[test]
fn every_scheduling_policy_is_set() {
    let rows = [
        (json!({ "policy": "SCHED_OTHER" }), json!({ "policy": "SCHED_OTHER", "nice": 0 })),
        (json!({ "policy": "SCHED_OTHER", "nice": 7 }), json!({ "nice": 7 })),
        (json!({ "policy": "SCHED_OTHER", "nice": -5 }), json!({ "nice": -5 })),
        (
            json!({ "policy": "SCHED_BATCH", "nice": 3 }),
            json!({ "policy": "SCHED_BATCH", "nice": 3 }),
        ),
        (json!({ "policy": "SCHED_IDLE" }), json!({ "policy": "SCHED_IDLE" })),
        (
            json!({ "policy": "SCHED_FIFO", "priority": 10 }),
            json!({ "policy": "SCHED_FIFO", "priority": 10 }),
        ),
        (
            json!({ "policy": "SCHED_RR", "priority": 20 }),
            json!({ "policy": "SCHED_RR", "priority": 20 }),
        ),
        (
            json!({ "policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
            json!({ "policy": "SCHED_FIFO", "priority": 3, "flags": 1 }),
        ),
        (
            json!({ "policy": "SCHED_OTHER", "nice": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
            json!({ "policy": "SCHED_OTHER", "nice": 4, "flags": 1 }),
        ),
        (
            json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000 }),
            json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000 }),
        ),
        (
            json!({
                "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000,
                "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
            }),
            json!({ "policy": "SCHED_DEADLINE", "flags": 6 }),
        ),
    ];
    let hako = Runtime::new();
    each(rows, |(scheduler, expected)| {
        let mut bundle = hako.bundle();
        bundle.set("/process/scheduler", scheduler.clone());
        let seen = hako.inspect(&bundle);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&seen["scheduler"][field], value, "{}", seen["scheduler"]);
        }
    });
}

#[test]
fn without_a_scheduler_that_of_the_caller_is_kept() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle).before("exec nice -n 9 \"$0\" \"$@\"");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["scheduler"]["nice"], 9);
}

#[test]
fn impossible_schedulers_are_refused() {
    let rows = [
        json!({ "policy": "SCHED_COFFEE" }),
        json!({ "policy": "" }),
        json!({ "nice": 3 }),
        json!({ "policy": "SCHED_OTHER", "nice": 20 }),
        json!({ "policy": "SCHED_OTHER", "nice": -21 }),
        json!({ "policy": "SCHED_OTHER", "priority": 5 }),
        json!({ "policy": "SCHED_BATCH", "priority": 5 }),
        json!({ "policy": "SCHED_FIFO", "priority": 100 }),
        json!({ "policy": "SCHED_OTHER", "runtime": 1_000_000 }),
        json!({ "policy": "SCHED_FIFO", "priority": 1, "deadline": 1_000_000 }),
        json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_COFFEE"] }),
    ];
    let hako = Runtime::new();
    each(rows, |scheduler| {
        let mut bundle = hako.bundle();
        bundle.set("/process/scheduler", scheduler.clone());
        hako.refuses(&bundle, "/process/scheduler");
    });
}

#[test]
fn every_io_priority_class_is_set() {
    let rows = [
        ("IOPRIO_CLASS_IDLE", 0),
        ("IOPRIO_CLASS_BE", 4),
        ("IOPRIO_CLASS_BE", 7),
        ("IOPRIO_CLASS_RT", 2),
    ];
    let hako = Runtime::new();
    each(rows, |(class, priority)| {
        let mut bundle = hako.bundle();
        let value = json!({ "class": class, "priority": priority });
        bundle.set("/process/ioPriority", value.clone());
        assert_eq!(hako.inspect(&bundle)["io_priority"], value);
    });
}

#[test]
fn impossible_io_priorities_are_refused() {
    let rows = [
        json!({ "class": "IOPRIO_CLASS_COFFEE", "priority": 1 }),
        json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
        json!({ "class": "", "priority": 1 }),
        json!({ "priority": 1 }),
    ];
    let hako = Runtime::new();
    each(rows, |priority| {
        let mut bundle = hako.bundle();
        bundle.set("/process/ioPriority", priority.clone());
        hako.refuses(&bundle, "/process/ioPriority");
    });
}

#[test]
fn the_oom_score_is_the_configured_one_or_the_callers() {
    let hako = Runtime::new();
    // Only upwards: less than the caller's takes CAP_SYS_RESOURCE.
    let rows: [(Value, i32); 3] = [(json!(500), 500), (json!(1000), 1000), (json!(null), 300)];
    each(rows, |(value, expected)| {
        let mut bundle = hako.bundle();
        if !value.is_null() {
            bundle.set("/process/oomScoreAdj", value.clone());
        }
        let command = hako.on_bundle(&["run"], &bundle);
        let command = command.before("echo 300 >/proc/self/oom_score_adj");
        let seen = hako.finish(command, &bundle).ok().json();
        assert_eq!(seen["oom_score_adj"], *expected);
    });
}

#[test]
fn impossible_oom_scores_are_refused() {
    let hako = Runtime::new();
    each([json!(1001), json!(-1001), json!("500")], |score| {
        let mut bundle = hako.bundle();
        bundle.set("/process/oomScoreAdj", score.clone());
        hako.refuses(&bundle, "/process/oomScoreAdj");
    });
}

/// It is for `exec`; the first process is left alone, but nonsense is refused.
#[test]
fn cpu_affinity_for_exec_does_not_touch_the_first_process() {
    let hako = Runtime::new();
    let plain = hako.inspect(&hako.bundle())["cpu_affinity"].clone();
    let mut bundle = hako.bundle();
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    assert_eq!(hako.inspect(&bundle)["cpu_affinity"], plain);
    each(["x", "0-", "3-1", "-1", "0,,1", "99999999999999999999"], |cpus| {
        for field in ["initial", "final"] {
            let mut bundle = hako.bundle();
            bundle.set(&format!("/process/execCPUAffinity/{field}"), *cpus);
            hako.refuses(&bundle, "/process/execCPUAffinity");
        }
    });
}

#[test]
fn the_affinity_of_the_caller_is_kept() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle).before("exec taskset -c 0 \"$0\" \"$@\"");
    assert_eq!(hako.finish(command, &bundle).ok().json()["cpu_affinity"], json!([0]));
}
