//! The functions that a formula may use: those of Expr that make numbers of numbers.

use super::kind::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Abs,
    Ceil,
    Floor,
    Round,
    Int,
    Float,
    Min,
    Max,
    Mean,
    Median,
    Sum,
    Len,
    Count,
    Any,
    All,
    None,
    One,
    Map,
    Filter,
}

const ALL: [(&str, Function); 19] = [
    ("abs", Function::Abs),
    ("ceil", Function::Ceil),
    ("floor", Function::Floor),
    ("round", Function::Round),
    ("int", Function::Int),
    ("float", Function::Float),
    ("min", Function::Min),
    ("max", Function::Max),
    ("mean", Function::Mean),
    ("median", Function::Median),
    ("sum", Function::Sum),
    ("len", Function::Len),
    ("count", Function::Count),
    ("any", Function::Any),
    ("all", Function::All),
    ("none", Function::None),
    ("one", Function::One),
    ("map", Function::Map),
    ("filter", Function::Filter),
];

impl Function {
    pub fn named(name: &str) -> Option<Function> {
        ALL.iter().find(|(it, _)| *it == name).map(|(_, it)| *it)
    }

    pub fn name(self) -> &'static str {
        ALL.iter()
            .find(|(_, it)| *it == self)
            .map_or("", |(name, _)| name)
    }

    /// All names, for whoever wrote another one.
    pub fn names() -> String {
        ALL.map(|(name, _)| name).join(", ")
    }

    /// Whether something is computed for each thing in a list: always, if it is given, or
    /// never.
    pub fn predicate(self) -> Predicate {
        match self {
            Function::Any
            | Function::All
            | Function::None
            | Function::One
            | Function::Map
            | Function::Filter => Predicate::Needed,
            Function::Sum | Function::Count => Predicate::Allowed,
            _ => Predicate::Never,
        }
    }

    /// What comes of it, or why it can't take these. `each` is what is computed for each
    /// thing in the list.
    pub fn kind(self, arguments: &[Kind], each: Option<&Kind>) -> Result<Kind, String> {
        let name = self.name();
        let many = matches!(
            self,
            Function::Min | Function::Max | Function::Mean | Function::Median
        );
        if many {
            let sound = |kind: &Kind| kind.is_number() || kind.is_list();
            if arguments.is_empty() || !arguments.iter().all(sound) {
                return Err(format!(
                    "gives {name} something else than numbers and lists"
                ));
            }
            return Ok(match (self, &arguments[0]) {
                (Function::Mean | Function::Median, Kind::Int | Kind::Float) => Kind::Float,
                (_, Kind::List(_)) => Kind::Any,
                (_, first) => first.clone(),
            });
        }
        let [argument] = arguments else {
            let count = arguments.len();
            return Err(format!("gives {name} {count} arguments; it takes one"));
        };
        let scalar = matches!(
            self,
            Function::Abs
                | Function::Ceil
                | Function::Floor
                | Function::Round
                | Function::Int
                | Function::Float
        );
        let sound = if scalar {
            argument.is_number()
        } else {
            argument.is_list()
        };
        if !sound {
            let wants = if scalar { "a number" } else { "a list" };
            return Err(format!("gives {name} {argument}; it takes {wants}"));
        }
        let tests = !matches!(self, Function::Map | Function::Sum);
        if let Some(each) = each
            && tests
            && !each.is_truth()
        {
            return Err(format!("has {each} in {name}, which takes true or false"));
        }
        Ok(match self {
            Function::Abs | Function::Filter => argument.clone(),
            Function::Int | Function::Len | Function::Count => Kind::Int,
            Function::Any | Function::All | Function::None | Function::One => Kind::Bool,
            Function::Map => Kind::List(Box::new(each.cloned().unwrap_or(Kind::Any))),
            Function::Sum => each.cloned().unwrap_or_else(|| argument.element()),
            _ => Kind::Float,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    Needed,
    Allowed,
    Never,
}
