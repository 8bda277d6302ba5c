"""The page of the lab: a marimo notebook of two columns, which `blurphys lab` runs."""

import marimo

app = marimo.App(width="columns", app_title="blurphys lab", css_file="assets/lab.css")

with app.setup:
    import marimo as mo

    from nets.lab import panels, pictures
    from nets.lab.server import opened
    from nets.lab.state import METHODS, Settings
    from nets.lab.widget import Picture


@app.cell(column=0)
def _():
    lab = opened()
    rows, cols = lab.scene.shape
    canvas = Picture(height=rows, width=cols, row=rows // 4, col=cols // 4)
    film = Picture(height=rows, width=cols, pick=False, name="Restored picture")
    picture = mo.ui.anywidget(canvas)
    mo.Html(panels.heading(lab))
    return canvas, film, lab, picture


@app.cell
def _(lab):
    show = mo.ui.radio(list(panels.SHOWN), value="photo", inline=True)
    focus = mo.ui.slider(
        steps=list(lab.focus_m), value=lab.initial.focus_m, label="Focus distance (m)", show_value=True, full_width=True
    )
    stop = mo.ui.slider(
        steps=list(lab.f_numbers), value=lab.initial.f_number, label="f-number", show_value=True, full_width=True
    )
    split = mo.ui.slider(
        steps=list(lab.splits), value=lab.initial.split, label="Dual-pixel split", show_value=True, full_width=True
    )
    return focus, show, split, stop


@app.cell
def _(focus, lab, split, stop):
    exposure = lab.expose(Settings(focus.value, stop.value, split.value))
    return (exposure,)


@app.cell
def _(canvas, exposure, show):
    canvas.picture = panels.picture(exposure, show.value)
    canvas.name = panels.SHOWN[show.value]
    return


@app.cell
def _(focus, picture, show, split, stop):
    mo.vstack([show, picture, focus, stop, split], gap=0.5)
    return


@app.cell
def _(exposure):
    mo.Html(panels.radii(exposure))
    return


@app.cell(column=1)
def _(exposure, lab, picture):
    mark = (picture.row, picture.col)
    mo.Html(panels.psf(lab, exposure, *mark))
    return (mark,)


@app.cell
def _(film):
    method = mo.ui.dropdown(list(METHODS), value="CGLS", label="Method")
    restore = mo.ui.run_button(label="Restore", kind="success")
    restored, set_restored = mo.state(None)
    certified, set_certified = mo.state(None)
    first = {"restoration", "certificate"}  # these are computed once without being asked for
    film_view = mo.ui.anywidget(film)
    mo.vstack([mo.Html(panels.title("Restoration")), mo.hstack([method, restore], justify="start")])
    return certified, film_view, first, method, restore, restored, set_certified, set_restored


@app.cell
def _(exposure, film, first, method, restore, set_restored):
    def watch(k, image):
        film.picture, film.note = pictures.photo_address(image), f"step {k} ..."

    if restore.value or "restoration" in first:
        first.discard("restoration")
        set_restored(exposure.restore(method.value, on_step=watch))
    return


@app.cell
def _(restored):
    mo.stop(restored() is None)
    last = restored().steps
    step = mo.ui.slider(0, last, value=last, label="Step", show_value=True, full_width=True)
    curve = panels.residuals(restored())
    return curve, step


@app.cell
def _(film, restored, step):
    film.picture = pictures.photo_address(restored().images[step.value])
    film.note = panels.score(restored(), step.value)
    return


@app.cell
def _(curve, film_view, step):
    mo.vstack([step, mo.Html(f'<div class="lab pair"><div>{film_view}</div>{curve}</div>')], gap=0.5)
    return


@app.cell
def _(exposure, restored):
    mo.stop(restored() is None)
    mo.Html(panels.outcome(exposure, restored()))
    return


@app.cell
def _():
    certify = mo.ui.run_button(label="Certify")
    mo.hstack([mo.Html(panels.title("Does the fixed point converge?")), certify], justify="start", align="center")
    return (certify,)


@app.cell
def _(certify, exposure, first, mark, set_certified):
    if certify.value or "certificate" in first:
        first.discard("certificate")
        set_certified((exposure, mark, exposure.certificate(*mark)))
    return


@app.cell
def _(certified, exposure, mark):
    mo.stop(certified() is None)
    mo.Html(panels.certificate(exposure, mark, *certified()))
    return


if __name__ == "__main__":
    app.run()
