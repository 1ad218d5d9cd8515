/* Checkpoints by themselves, on a plan written by hand: the round trip, the links, what stays and
 * what goes, copies by other programs. */
#include "toy_checkpoints.h"

#include <sys/stat.h>

START_TEST(test_round_trip)
{
    RunState want = some_state(12), got;
    Weights *w = weights_new_with_moments(&model);
    write_one("round", 12);
    ck_assert_int_eq(load("round", &got, w), 0);
    ck_assert(isnan(got.logged.loss));
    ck_assert(got.logged.seconds == want.logged.seconds && got.stall.loss == want.stall.loss);
    ck_assert(got.lr == want.lr && got.best_accuracy == -1);
    ck_assert_uint_eq(got.seed, want.seed);
    ck_assert_uint_eq(got.data_crc, want.data_crc);
    ck_assert(got.epoch == 3 && got.images == 8 && got.epochs == 9 && got.training_images == 100);
    ck_assert(got.logged.correct == 5 && got.logged.images == 8 && got.stall.images == 300);
    ck_assert_str_eq(got.precision, "bf16");
    ck_assert_str_eq(got.instruction_set, "GPU \"7\"");
    ck_assert(got.shuffle && !got.random_data && got.warned_stall);
    weights_free(w);
    ck_assert_str_eq(listing("round"), "latest step-00000012 ");
    ck_assert_str_eq(listing("round/latest"),
                     "model.safetensors optimizer.safetensors state.json ");
    expect_step("round", 12);
    expect_step("round/latest", 12);
    expect_step("round/step-00000012", 12);
}
END_TEST

START_TEST(test_keep_and_best)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("keep", steps, 6, 2, 2), 0);
    ck_assert_str_eq(listing("keep"), "best latest step-00000002 step-00000005 step-00000006 ");
    ck_assert_str_eq(link_target("keep/best"), "step-00000002");
    ck_assert_str_eq(link_target("keep/latest"), "step-00000006");
    ck_assert_int_eq(write_steps("all", steps, 6, -1, 0), 0);
    expect_step("all/step-00000003", 3);
}
END_TEST

/* A run that went back keeps what it left, under another name, from its first checkpoint on. */
START_TEST(test_going_back)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("back", steps, 6, 5, 0), 0);
    came_from = some_state(3);
    ck_assert_int_eq(write_steps("back", NULL, 0, -1, 1), 0);
    ck_assert_str_eq(link_target("back/latest"), "step-00000006");
    catch_errors();
    ck_assert_int_eq(write_steps("back", steps + 3, 1, -1, 2), 0);
    expect_error("went back to step 3; what it had later, step-00000004 to step-00000006, is kept");
    ck_assert_str_eq(listing("back"), "latest step-00000003 step-00000004 step-00000004.abandoned "
                                      "step-00000005.abandoned step-00000006.abandoned ");
    expect_step("back", 4);
    shell("rm -r '%s/step-00000004'; true '%s'", "back");
    catch_errors();
    expect_step("back", 3);
    expect_error("going on from step-00000003");
    came_from.step = INT64_MAX;
}
END_TEST

/* `best` is of the run that goes on, where that one's stands. */
START_TEST(test_best_when_going_back)
{
    static const int steps[] = {1, 2, 3, 4, 5, 6};
    ck_assert_int_eq(write_steps("best", steps, 6, 5, 0), 0);
    came_from = some_state(3);
    came_from.best_accuracy = 0.25;
    came_from.best_step = 2;
    catch_errors();
    ck_assert_int_eq(write_steps("best", steps + 3, 2, -1, 0), 0);
    caught();
    ck_assert_str_eq(link_target("best/best"), "step-00000002");
    catch_errors();
    ck_assert_int_eq(write_steps("best", steps + 3, 1, -1, 0), 0);
    caught();
    ck_assert_str_eq(listing("best"), "best latest step-00000001 step-00000002 step-00000003 "
                                      "step-00000004 step-00000004.abandoned "
                                      "step-00000004.abandoned-2 step-00000005.abandoned "
                                      "step-00000005.abandoned-2 step-00000006.abandoned ");
    came_from = (RunState){.step = INT64_MAX, .best_accuracy = -1};
}
END_TEST

START_TEST(test_leftovers_and_locks)
{
    CheckpointOptions options = {.resumed = &came_from};
    char path[4200];
    write_one("left", 1);
    shell("mkdir '%s/.step-00000002.partial-1' && touch '%s/.step-00000002.partial-1/model'",
          "left");
    shell("ln -s step-00000002 '%s/.latest.partial-1' && touch '%s/.mine'", "left");
    write_one("left", 3);
    ck_assert_str_eq(listing("left"), ".mine latest step-00000001 step-00000003 ");
    options.directory = strcpy(path, at("left"));
    Weights *w = weights_new_with_moments(&model);
    Checkpoints *c = checkpoints_open(&options, w);
    ck_assert_ptr_nonnull(c);
    catch_errors();
    ck_assert_ptr_null(checkpoints_open(&options, w));
    expect_error("is named twice"); /* as it is the same process */
    checkpoints_close(c);
    ck_assert_str_eq(listing("left"), ".mine latest step-00000001 step-00000003 ");
    options.resumed = NULL;
    catch_errors();
    ck_assert_ptr_null(checkpoints_open(&options, w));
    expect_error("holds the checkpoints of another run");
    weights_free(w);
}
END_TEST

/* Where latest does not help, the newest whole step does. */
START_TEST(test_broken_latest)
{
    static const int steps[] = {1, 2, 3};
    ck_assert_int_eq(write_steps("broken", steps, 3, -1, 0), 0);
    shell("truncate -s -1 '%s/step-00000003/optimizer.safetensors'; true '%s'", "broken");
    catch_errors();
    expect_step("broken", 2);
    expect_error("going on from step-00000002");
    expect_refusal("broken/step-00000003", &model, "optimizer.safetensors is not what was written");
    shell("rm -r '%s/step-00000003'; true '%s'", "broken");
    catch_errors();
    expect_step("broken/latest", 2);
    expect_error("state.json: No such file");
    shell("rm '%s/latest'; true '%s'", "broken");
    catch_errors();
    expect_step("broken", 2);
    expect_error("latest of");
    shell("rm -r '%s'/step-*; true '%s'", "broken");
    expect_refusal("broken", &model, "there is no checkpoint in");
    expect_refusal("nowhere", &model, "No such file");
    shell("touch '%s.st'; true '%s'", "file");
    expect_refusal("file.st", &model, "file.st: it is a file; give the directory");
    write_one("renamed", 1);
    shell("cp -r '%s/step-00000001' '%s/mine'", "renamed");
    expect_refusal("renamed/mine", &model, "the name of a step");
}
END_TEST

/* A directory as programs copy it that follow links, or know none. */
static void copy_run(const char *how)
{
    static const int steps[] = {1, 2, 3};
    shell("rm -rf '%s' '%s.copy'", "run");
    ck_assert_int_eq(write_steps("run", steps, 3, 2, 0), 0);
    ck_assert_str_eq(link_target("run/latest"), "step-00000003");
    ck_assert_str_eq(link_target("run/best"), "step-00000002");
    shell(how, "run");
}

/* Goes on from the step in the copy, whose links then stand again. */
static void goes_on(int64_t step, const char *best, const char *wanted)
{
    int next = 4;
    catch_errors();
    expect_step("run.copy", step);
    came_from = (RunState){.step = step, .best_accuracy = 0.5, .best_step = 2};
    ck_assert_int_eq(write_steps("run.copy", &next, 1, -1, 0), 0);
    caught();
    came_from = (RunState){.step = INT64_MAX, .best_accuracy = -1};
    ck_assert_str_eq(link_target("run.copy/latest"), "step-00000004");
    ck_assert_str_eq(link_target("run.copy/best"), best);
    ck_assert_str_eq(listing("run.copy"), wanted);
}

START_TEST(test_copied_directories)
{
    static const char all[] =
        "best latest step-00000001 step-00000002 step-00000003 step-00000004 ";
    copy_run("cp -rL '%s' '%s.copy'");
    expect_step("run.copy/best", 2);
    expect_step("run.copy/latest", 3);
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("cd '%s.copy' && rm latest best && printf step-00000003 >latest && "
          "printf 'step-00000002\\r\\n' >best; true '%s'",
          "run");
    expect_step("run.copy/best", 2);
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("rm '%s.copy/best' '%s.copy/latest'", "run");
    goes_on(3, "step-00000002", all);

    copy_run("cp -r '%s' '%s.copy'");
    shell("cd '%s.copy' && rm -r step-00000003 && ln -sfn step-00000007 best; true '%s'", "run");
    goes_on(2, "step-00000002", "best latest step-00000001 step-00000002 step-00000004 ");
}
END_TEST

START_TEST(test_copies_without_their_steps)
{
    copy_run("cp -rL '%s' '%s.copy'");
    shell("rm -r '%s.copy/step-00000003' '%s.copy/step-00000002'", "run");
    goes_on(3, "step-00000002",
            "best latest step-00000001 step-00000002 step-00000003 step-00000004 ");

    /* The step is damaged, its copy is not. */
    copy_run("cp -rL '%s' '%s.copy'");
    shell("truncate -s -1 '%s.copy/step-00000003/model.safetensors'; true '%s'", "run");
    goes_on(3, "step-00000002",
            "best latest step-00000001 step-00000002 step-00000003 step-00000003.abandoned "
            "step-00000004 ");

    /* The other way round. */
    copy_run("cp -rL '%s' '%s.copy'");
    shell("truncate -s -1 '%s.copy/latest/model.safetensors'; true '%s'", "run");
    goes_on(3, "step-00000002",
            "best latest latest.abandoned step-00000001 step-00000002 step-00000003 "
            "step-00000004 ");
    copy_run("mkdir '%s.copy' && cp -rL '%s/latest' run.copy/latest");
    expect_step("run.copy", 3);
}
END_TEST

/* What stands where a step must go is named, and nothing hidden is left; a directory in the place
 * of a link is kept. */
START_TEST(test_write_failures)
{
    int step = 2;
    write_one("fail", 1);
    shell("rm '%s/latest' && mkdir '%s/latest'", "fail");
    catch_errors();
    ck_assert_int_eq(write_steps("fail", &step, 1, -1, 0), 0);
    expect_error("/fail: latest is a directory, and no copy of a checkpoint that is there");
    ck_assert_str_eq(listing("fail"), "latest latest.abandoned step-00000001 step-00000002 ");
    shell("rm '%s/latest' && touch '%s/step-00000003'", "fail");
    step = 3;
    catch_errors();
    ck_assert_int_eq(write_steps("fail", &step, 1, -1, 0), -1);
    expect_error("/step-00000003: Not a directory");
    ck_assert_str_eq(listing("fail"),
                     "latest.abandoned step-00000001 step-00000002 step-00000003 ");
}
END_TEST

/* On the thread that waits: a message of the writer's would come in the middle of a line. */
START_TEST(test_failure_is_told_where_it_is_waited_for)
{
    char told[512];
    int step = 1;
    write_one("told", 1);
    shell("rm -r '%s/step-00000001' && touch '%s/step-00000001'", "told");
    Messages before = fault_hold(told, sizeof told);
    ck_assert_int_eq(write_steps("told", &step, 1, -1, 0), -1);
    fault_release(before);
    ck_assert_ptr_nonnull(strstr(told, "/step-00000001: Not a directory"));
    ck_assert_ptr_nonnull(strstr(told, "choose another place; go on with --resume /tmp/"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_round_trip, test_keep_and_best, test_going_back,
                                  test_best_when_going_back, test_leftovers_and_locks,
                                  test_broken_latest, test_copied_directories,
                                  test_copies_without_their_steps, test_write_failures,
                                  test_failure_is_told_where_it_is_waited_for};
    return run_in_scratch("checkpoint", tests, sizeof tests / sizeof *tests, NULL);
}
