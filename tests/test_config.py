"""Settings: bounds, text and nested values, presets, and that nothing here needs torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enas import config
from enas.config import (
    PRESETS,
    SEARCHABLE,
    SPACE_OPTIONS,
    MacroOptions,
    MicroOptions,
    ResNet20Options,
    RetrainConfig,
    SearchConfig,
    SgdConfig,
    StandaloneConfig,
    WeightsConfig,
)
from enas.config.checked import Checked, check_value
from enas.errors import UserError

SPACES = (None, *SPACE_OPTIONS)
ALL = [c for preset in PRESETS.values() for space in SPACES for c in preset(space)] + [SearchConfig(), RetrainConfig()]


def classes(config_class: type) -> Iterator[type]:
    """A configuration class and those of its parts; of the spaces, every one."""
    yield config_class
    for hint in typing.get_type_hints(config_class).values():
        for part in typing.get_args(hint) or (hint,):
            if isinstance(part, type) and issubclass(part, Checked):
                yield from classes(part)


PARTS = sorted({*classes(SearchConfig), *classes(RetrainConfig)}, key=lambda c: c.__name__)
SETTINGS = [(part, f) for part in PARTS for f in dataclasses.fields(part) if f.metadata]
each_setting = pytest.mark.parametrize(("part", "field"), SETTINGS, ids=[f"{p.__name__}-{f.name}" for p, f in SETTINGS])


def test_every_part_is_looked_at() -> None:
    assert {*SPACE_OPTIONS.values(), StandaloneConfig, WeightsConfig, SearchConfig, RetrainConfig} <= set(PARTS)
    assert len(SETTINGS) > 60
    without = [(part, f.name) for part in PARTS for f in dataclasses.fields(part) if not f.metadata]
    assert all(issubclass(type(getattr(part(), name)), Checked) for part, name in without)  # nested parts alone


@each_setting
def test_a_setting_has_help_and_a_default_within_its_bounds(part: type, field: dataclasses.Field[Any]) -> None:
    assert len(field.metadata["help"].strip()) > 5
    assert field.metadata["help"] == field.metadata["help"].strip()
    check_value(field, field.default)
    # the default has the field's type: what `update` takes
    assert getattr(config.update(part(), {field.name: field.default}), field.name) == field.default


@each_setting
def test_bounds_are_the_last_values_allowed(part: type, field: dataclasses.Field[Any]) -> None:
    step = 1 if "int" in str(field.type) else 1e-9
    for bound, outwards, inclusive in (("low", -step, True), ("high", step, True), ("above", -step, False)):
        if field.metadata[bound] is not None:
            number = field.metadata[bound]
            with pytest.raises(UserError, match=f"{field.name} must be .*{number}"):
                part(**{field.name: number + outwards})
            if inclusive:
                part(**{field.name: number})
            else:
                part(**{field.name: number - outwards})
                with pytest.raises(UserError, match=f"{field.name} must be greater than {number}"):
                    part(**{field.name: number})
    if field.metadata["choices"]:
        with pytest.raises(UserError, match=f"{field.name} must be one of {field.metadata['choices'][0]}"):
            part(**{field.name: "nonsense"})


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_configurations_are_immutable(part: type) -> None:
    instance = part()
    for f in dataclasses.fields(part):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, f.name, getattr(instance, f.name))
    assert hash(instance) == hash(part())
    with pytest.raises(TypeError):
        part(1)  # by name alone


def options(config_class: type, space: type) -> list[str]:
    """The command-line options of a configuration whose space is `space`; a section's sections have none."""
    names = []
    for f in dataclasses.fields(config_class):
        hint = typing.get_type_hints(config_class)[f.name]
        if f.metadata:
            names += [f.metadata["option"]] if f.metadata["option"] else []
        elif f.name != "space":
            if config_class in (SearchConfig, RetrainConfig):
                names += options(hint, space)
        elif config_class is SearchConfig:  # a retraining takes the space of the search; its width is its own
            names += options(space, space)
    return names


@pytest.mark.parametrize("config_class", [SearchConfig, RetrainConfig])
@pytest.mark.parametrize("space", SPACE_OPTIONS.values())
def test_option_names_are_unique_and_well_formed(config_class: type, space: type) -> None:
    names = options(config_class, space)
    assert len(names) == len(set(names)) > 5
    assert all(name.startswith("--") and name == name.lower() and "_" not in name for name in names)
    assert not set(names) & {"--set", "--config", "--preset", "--print-config", "--help"}


def test_retraining_settings_are_not_those_of_the_shared_weights() -> None:
    assert "architectures_per_step" not in {f.name for f in dataclasses.fields(SgdConfig)}
    assert set(SEARCHABLE) <= set(SPACE_OPTIONS)
    assert all(options.name == name for name, options in SPACE_OPTIONS.items())


@pytest.mark.parametrize("value", ALL)
def test_plain_values_round_trip(value: SearchConfig | RetrainConfig) -> None:
    plain = json.loads(json.dumps(config.to_dict(value), allow_nan=False))
    assert plain["space"]["name"] == value.space.name
    for base in ALL:
        if type(base) is type(value):
            assert config.update(base, plain) == value
    assert config.update(value, {}) == value


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_consistent(name: str, space: str | None) -> None:
    search, retrain = PRESETS[name](space)
    assert search.preset == name
    assert search.space == retrain.space
    assert space in (None, search.space.name)
    assert search.controller.warmup_epochs < search.epochs
    assert search.derive.finalists <= search.derive.samples + search.derive.random
    assert search.data == dataclasses.replace(retrain.data, cutout=0)  # retraining may augment more
    for part in (search, retrain):
        config.check(part)  # settings that do not go together


def test_presets_know_both_search_spaces() -> None:
    """The same budget, but sizes of its own for each space; the presets named after a space begin with it."""
    for name, preset in PRESETS.items():
        by_space = {space: preset(space)[0].space for space in SEARCHABLE}
        assert {space: options.name for space, options in by_space.items()} == {space: space for space in SEARCHABLE}
        assert preset(None)[0].space == by_space["micro" if name == "cifar10-micro" else "macro"]
    assert isinstance(PRESETS["cpu"]("micro")[0].space, MicroOptions)
    assert PRESETS["cpu"]("micro")[0].epochs < PRESETS["cpu"]("macro")[0].epochs
    # ENAS' retraining of cells is deeper, wider and has all three regularisers
    paper = PRESETS["cifar10-micro"](None)[1]
    assert (paper.width, paper.depth, paper.epochs) == (36, 5, 630)
    assert paper.sgd.drop_path == paper.sgd.auxiliary_weight == 0.4
    with pytest.raises(UserError, match=f"space must be one of {', '.join(SPACE_OPTIONS)}, but got 'atlas'"):
        PRESETS["quick"]("atlas")


def test_text_sets_nested_values_of_every_type() -> None:
    before = SearchConfig()
    after = config.from_text(
        before,
        [
            "epochs = 7",
            "controller.lr=2e-3",
            "weights.lr_max=1",
            "data.flip=No",
            "deterministic=true",
            "data.image_size=32",
            "data.name= a=b ",
            "space.layers=4",
            "epochs=8",
        ],
    )
    assert (after.epochs, after.controller.lr, after.deterministic) == (8, 0.002, True)
    assert after.weights.lr_max == 1.0 and type(after.weights.lr_max) is float
    assert (after.data.flip, after.data.image_size, after.data.name) == (False, 32, "a=b")
    assert type(after.data.name) is str
    assert after.space == MacroOptions(layers=4)
    assert config.from_text(after, ["data.flip=none", "data.image_size=", "data.name=null"]).data == before.data
    assert before == SearchConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "--set must be key=value, for example controller.lr=0.002, but got 'epochs'"),
        ("=3", "--set must be key=value"),
        (" =3", "--set must be key=value"),
        ("controler.lr=1", "there is no setting controler; did you mean controller?"),
        ("controller.warmup=1", "there is no setting controller.warmup; did you mean warmup_epochs?"),
        ("derive.qqq=1", "there is no setting derive.qqq; known here: samples, random, finalists"),
        ("controller..lr=1", "there is no setting controller."),
        ("epochs.x=1", "epochs must be a whole number, but got {'x': '1'}"),
        ("weights=3", "weights must be a table of settings, but got '3'"),
        ("epochs=2.5", "epochs must be a whole number, but got '2.5'"),
        ("epochs=true", "epochs must be a whole number, but got 'true'"),
        ("epochs=none", "epochs must be a whole number, but got 'none'"),
        ("deterministic=1", "deterministic must be true or false, but got '1'"),
        ("controller.lr=fast", "controller.lr must be a number, but got 'fast'"),
        ("data.image_size=big", "data.image_size must be a whole number or none, but got 'big'"),
        ("epochs=0", "epochs must be at least 1, but got 0"),
        ("seed=2147483648", "seed must be at most 2147483647"),
        ("weights.lr_max=0", "weights.lr_max must be greater than 0, but got 0.0"),
        ("weights.lr_max=nan", "weights.lr_max must be a finite number, but got nan"),
        ("weights.lr_max=inf", "weights.lr_max must be a finite number, but got inf"),
        ("weights.schedule=step", "weights.schedule must be one of cosine, cosine-restarts, one-cycle, but got 'step'"),
        ("space.name=atlas", f"space must be one of {', '.join(SPACE_OPTIONS)}, but got 'atlas'"),
        ("controller.recurrence=rnn", "controller.recurrence must be one of lstm, gru, but got 'rnn'"),
        ("weights.drop_path=1", "weights.drop_path must be at most 0.95, but got 1.0"),
        ("weights.mixup=1", "there is no setting weights.mixup"),  # of a network on its own alone
        ("space.layers=99", "space.layers must be at most 64, but got 99"),
    ],
)
def test_wrong_text_says_what_must_hold(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        config.from_text(SearchConfig(), [text])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the configuration must be a table of settings"),
        ({"weights": 3}, "weights must be a table"),
        ({"weights": None}, "weights must be a table"),
        ({"epochs": True}, "epochs must be a whole number, but got True"),
        ({"epochs": 3.0}, "epochs must be a whole number, but got 3.0"),
        ({"epochs": "3"}, "epochs must be a whole number, but got '3'"),  # only the command line has text for numbers
        ({"deterministic": 1}, "deterministic must be true or false"),
        ({"controller": {"lr": True}}, "controller.lr must be a number"),
        ({"controller": {"lr": None}}, "controller.lr must be a number, but got None"),
        ({"controller": {"lr": 10**400}}, "controller.lr must be a number"),
        ({"device": 3}, "device must be text"),
        ({"data": {"flip": "yes"}}, "data.flip must be true or false or none"),
        ({"space": {"name": []}}, "space must be one of"),
        ({"space": {"name": None}}, "space must be one of"),
    ],
)
def test_wrong_values_say_what_must_hold(values: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        config.update(SearchConfig(), values)
    assert message in str(error.value)


def test_whole_numbers_pass_as_numbers() -> None:
    lr = config.update(SearchConfig(), {"weights": {"lr_max": 1}}).weights.lr_max
    assert lr == 1.0 and type(lr) is float


def test_a_space_of_another_name_starts_from_its_own_defaults() -> None:
    macro = SearchConfig(space=MacroOptions(layers=5, width=20))
    assert config.update(macro, {"space": {"name": "macro", "width": 8}}).space == MacroOptions(layers=5, width=8)
    resnet = config.update(macro, {"space": {"name": "resnet20"}})
    assert resnet.space == ResNet20Options()
    assert config.from_text(macro, ["space.name=resnet20", "space.width=8"]).space == ResNet20Options(width=8)
    assert config.update(resnet, {"space": {"name": "macro"}}).space == MacroOptions()
    with pytest.raises(UserError, match="no setting space.layers"):
        config.update(macro, {"space": {"name": "resnet20", "layers": 3}})


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NAMES = st.sampled_from(sorted({f.name for part in PARTS for f in dataclasses.fields(part)} | {"name", "x", ""}))
TABLES: Callable[[Any], Any] = lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4)  # noqa: E731


@settings(max_examples=150, deadline=None)
@given(st.recursive(LEAVES, TABLES, max_leaves=8))
@example({"space": {"name": {}}})
def test_any_value_gives_a_configuration_or_a_user_error(values: Any) -> None:
    for base in (SearchConfig(), RetrainConfig()):
        try:
            result = config.update(base, values)
        except UserError as error:
            assert str(error)
        else:
            assert config.update(base, config.to_dict(result)) == result


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=12) | st.builds("{}.{}={}".format, NAMES, NAMES, st.text(max_size=6)), max_size=3))
def test_any_text_gives_a_configuration_or_a_user_error(assignments: list[str]) -> None:
    try:
        assert isinstance(config.from_text(SearchConfig(), assignments), SearchConfig)
    except UserError as error:
        assert str(error)


@pytest.mark.parametrize("module", ["enas", "enas.config", "enas.spaces", "enas.graph"])
def test_torch_is_not_imported(module: str) -> None:
    code = f"import sys, {module}; assert not {{'torch', 'numpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
