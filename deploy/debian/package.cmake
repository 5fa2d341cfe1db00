# The Debian package: `cpack -G DEB` in a release build folder. The service's own files are a
# component of their own, which `cmake --install` leaves out: they fit a system's prefix only.
set(service COMPONENT service EXCLUDE_FROM_ALL)
set(here ${CMAKE_CURRENT_LIST_DIR})
install(FILES ${here}/../systemd/trmd.service DESTINATION /lib/systemd/system ${service})
install(FILES ${here}/config.json DESTINATION /etc/trmd ${service})
install(FILES ${here}/copyright ${PROJECT_SOURCE_DIR}/README.md
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trmd ${service})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME trmd)
set(CPACK_PACKAGE_VENDOR trmd)
set(CPACK_PACKAGE_CONTACT "trmd maintainers <maintainers@trmd.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL Unspecified service)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.54~), libopenblas0-openmp")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  "${here}/conffiles;${here}/postinst;${here}/prerm;${here}/postrm")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
