import pytest

from onethinker.core.errors import ConfigError
from onethinker.training.config import RlRecipe, SftRecipe, built_in_recipes
from onethinker.training.dpo_recipe import DpoRecipe


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_built_in_recipe_loads(name):
    stages = {"sft": SftRecipe, "sight": SftRecipe, "dpo": DpoRecipe, "rl": RlRecipe, "cpu": RlRecipe}
    [kind] = {stages[word] for word in name.split("_") if word in stages}
    assert kind.load(name).steps > 0


def test_overrides_replace_settings_by_dotted_name():
    recipe = RlRecipe.load(
        "tiny_rl", ["steps=3", "model=runs/x", "rollout.group_size=4", 'data.problem_types=["tracking"]']
    )
    assert (recipe.steps, recipe.model, recipe.rollout.group_size) == (3, "runs/x", 4)
    assert recipe.data.problem_types == ("tracking",)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepz=3", "stepz"),
        ("steps=many", "steps"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate"),
        ("steps", "name=value"),
        ("steps.more=1", "single setting"),
    ],
)
def test_a_wrong_override_is_an_error_that_names_it(override, said):
    with pytest.raises(ConfigError, match=said):
        SftRecipe.load("tiny_sft", [override])


@pytest.mark.parametrize("override", ["data.seed=-1", "seed=-1", "rollout.min_accuracy=0.99"])
def test_values_out_of_range_are_refused(override):
    with pytest.raises(ConfigError, match=override.partition("=")[0].rpartition(".")[2]):
        RlRecipe.load("tiny_rl", [override])


def test_a_missing_recipe_is_an_error_that_lists_the_built_in_ones():
    with pytest.raises(ConfigError, match="tiny_sft"):
        SftRecipe.load("nowhere")
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        SftRecipe.load("nowhere.toml")


def test_a_file_that_is_no_toml_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("steps = ")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        SftRecipe.load(path)
