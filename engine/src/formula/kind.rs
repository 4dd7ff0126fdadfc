//! What a part of a formula will be, as far as it is known before it is computed, and
//! which parts go together (the rules of Expr's own checker).

use std::fmt;

use super::read::Operator;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Int,
    Float,
    Bool,
    Nil,
    List(Box<Kind>),
    /// Known once it is computed.
    Any,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Int => "a whole number",
            Kind::Float => "a number",
            Kind::Bool => "true or false",
            Kind::Nil => "nil",
            Kind::List(_) => "a list",
            Kind::Any => "anything",
        })
    }
}

impl Kind {
    pub fn is_number(&self) -> bool {
        matches!(self, Kind::Int | Kind::Float | Kind::Any)
    }

    pub fn is_truth(&self) -> bool {
        matches!(self, Kind::Bool | Kind::Any)
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Kind::List(_) | Kind::Any)
    }

    /// Of each thing in a list.
    pub fn element(&self) -> Kind {
        match self {
            Kind::List(kind) => Kind::clone(kind),
            _ => Kind::Any,
        }
    }

    /// What is one of the two.
    pub fn either(one: &Kind, other: &Kind) -> Kind {
        match (one, other) {
            (Kind::Nil, kind) | (kind, Kind::Nil) => kind.clone(),
            (one, other) if one == other => one.clone(),
            _ => Kind::Any,
        }
    }

    /// What comes of an operator, or why the two don't go together.
    pub fn of(operator: Operator, left: &Kind, right: &Kind) -> Result<Kind, String> {
        let sound = match operator {
            Operator::Or | Operator::And => left.is_truth() && right.is_truth(),
            Operator::Equal | Operator::Unequal => comparable(left, right),
            Operator::In => right.is_list(),
            Operator::Otherwise => true,
            Operator::Rest => {
                let whole = |kind: &Kind| matches!(kind, Kind::Int | Kind::Any);
                whole(left) && whole(right)
            }
            _ => left.is_number() && right.is_number(),
        };
        if !sound {
            return Err(format!(
                "has `{}` between {left} and {right}",
                operator.sign()
            ));
        }
        let whole = *left == Kind::Int && *right == Kind::Int;
        let any = *left == Kind::Any || *right == Kind::Any;
        let keeps = matches!(operator, Operator::Plus | Operator::Minus | Operator::Times);
        Ok(match operator {
            _ if keeps && whole => Kind::Int,
            _ if keeps && any => Kind::Any,
            Operator::Plus
            | Operator::Minus
            | Operator::Times
            | Operator::Divide
            | Operator::Power => Kind::Float,
            Operator::Rest => Kind::Int,
            Operator::Otherwise => Kind::either(left, right),
            _ => Kind::Bool,
        })
    }
}

fn comparable(left: &Kind, right: &Kind) -> bool {
    matches!(
        (left, right),
        (Kind::Any | Kind::Nil, _)
            | (_, Kind::Any | Kind::Nil)
            | (Kind::List(_), Kind::List(_))
            | (Kind::Bool, Kind::Bool)
    ) || (left.is_number() && right.is_number())
}
