"""The first epoch that passes a mark."""


def test_the_clock_stops_at_the_first_epoch_whose_validation_passes(run):
    table, said = run(
        "time_to_accuracy",
        *("--model=net", "--epochs=2", "--images=800", "--test-images=100", "--marks=0.01,0.999"),
    )
    easy, hard = table.to_dict("records")
    assert easy["epoch"] == "1"
    assert 0 < float(easy["seconds"]) < easy["seconds_in_all"]
    assert float(easy["validation_accuracy"]) >= 0.01
    assert 0 <= float(easy["test_accuracy"]) <= 1
    assert hard["epoch"] == hard["seconds"] == hard["test_accuracy"] == ""
    assert "net: 1% soonest in 2 epochs" in said
    assert "not passed" in said


def test_a_schedule_that_one_seed_fails_with_is_not_the_fastest(load):
    fastest = load("time_to_accuracy").fastest
    rows = [
        {"epochs": epochs, "mark": 0.9, "epoch": epoch, "seconds": seconds}
        for epochs, epoch, seconds in [(2, 2, 1.0), (2, "", ""), (4, 4, 3.0), (4, 3, 2.0)]
    ]
    assert fastest(rows, 0.9) == (4, 2.5)
    assert fastest(rows[:2], 0.9) is None
